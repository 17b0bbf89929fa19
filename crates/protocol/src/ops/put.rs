//! PUT, with and without a condition.

use super::{EntryRead, Known, MAX_ATTEMPTS, back_off};
use crate::index::{BucketPair, Insert, Inserted, Lookup, find};
use crate::mutant::{self, Mutant};
use crate::view::InDoubt;
use crate::{
    Commit, Concluded, Context, Event, Failure, Found, Place, ProtocolError, Replace, Replaced, Staged,
};
use farrow_fabric::{Chain, Fabric, join_all};
use farrow_layout::{Slot, Word};

/// When a PUT may take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// Only if the key is not there.
    IfAbsent,
    /// Only if the key is there.
    IfPresent,
    /// Only if the key's value is this very version.
    IfVersion(Word),
}

/// Why a condition did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The key is there, as this version.
    Exists(Word),
    /// The key is not there.
    Absent,
    /// The key has another version: this one.
    Version(Word),
}

/// What a PUT did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The value is there, on all replicas.
    Done(Found),
    /// The value was there and is not any more: another PUT came right behind it. `word` is the version it had.
    Overwritten {
        /// The version that this value had.
        word: Word,
    },
    /// The condition did not hold; nothing has changed.
    Rejected(Rejection),
}

/// Puts an entry that has been staged for the context's key. `unused` becomes true when no slot ever named the entry, so
/// that its place can be used again.
///
/// Cost: 1 round trip and 2 verbs a member when `known` is right (one WRITE more behind the reply), 3 for an existing key
/// of which nothing is known, 2 for a new one (3 where a slot has to be recycled).
///
/// # Errors
/// [`Failure`]; its effect says whether the value may be there. [`ProtocolError::Closed`] before anything was posted.
pub async fn put<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    known: Known,
    condition: Condition,
    staged: &Staged,
    unused: &mut bool,
) -> Result<PutOutcome, Failure> {
    cx.check_open()?;
    let (linked, change) = (Word::ZERO, None);
    Put { cx, commit, condition, staged, is_placed: false, is_published: false, linked, change }
        .run(known, unused)
        .await
}

struct Put<'a, F: Fabric, C> {
    cx: &'a Context<'a, F>,
    commit: C,
    condition: Condition,
    staged: &'a Staged,
    /// The entry's bytes are on all members.
    is_placed: bool,
    /// A CAS with a word of this entry was posted.
    is_published: bool,
    /// Which word the placed entry says that it replaces.
    linked: Word,
    /// The last change that was posted. Those before it can have no effect any more: their slots were settled with
    /// something else in between.
    change: Option<InDoubt>,
}

/// What one attempt came to.
enum Attempt {
    Over(PutOutcome),
    Again,
}

impl<F: Fabric, C: Commit> Put<'_, F, C> {
    async fn run(mut self, known: Known, unused: &mut bool) -> Result<PutOutcome, Failure> {
        let outcome = self.attempts(known).await;
        *unused = (!self.is_published || mutant::is(Mutant::PlaceReused)) && outcome.is_ok();
        let is_published = self.is_published && !mutant::is(Mutant::MaybeForgotten);
        outcome.map_err(|failure| failure.after(is_published).leaving(self.change))
    }

    async fn attempts(&mut self, known: Known) -> Result<PutOutcome, Failure> {
        if let Some(found) = known
            && let Attempt::Over(outcome) = self.attempt_known(found).await?
        {
            return Ok(outcome);
        }
        let buckets = BucketPair::new(self.cx)?;
        let mut is_fresh = false;
        for attempt in 0..MAX_ATTEMPTS {
            back_off(self.cx, attempt).await;
            if !is_fresh {
                let speculate = match self.condition {
                    Condition::Always => true,
                    Condition::IfAbsent => known.is_none(),
                    Condition::IfPresent | Condition::IfVersion(_) => false,
                };
                self.read_buckets(&buckets, speculate).await?;
            }
            is_fresh = false;
            match find(self.cx, self.commit, &buckets, |cx, word, _| EntryRead::key_only(cx, word)).await? {
                Lookup::Again => {}
                Lookup::Present(found, _) => match self.condition {
                    Condition::IfAbsent => return Ok(PutOutcome::Rejected(Rejection::Exists(found.word))),
                    Condition::IfVersion(v) if v != found.word => {
                        return Ok(PutOutcome::Rejected(Rejection::Version(found.word)));
                    }
                    _ => {
                        if let Attempt::Over(outcome) = self.replace(found, true).await? {
                            return Ok(outcome);
                        }
                    }
                },
                Lookup::Absent(false_matches) => {
                    if matches!(self.condition, Condition::IfPresent | Condition::IfVersion(_)) {
                        return Ok(PutOutcome::Rejected(Rejection::Absent));
                    }
                    if !self.is_placed {
                        self.read_buckets(&buckets, true).await?;
                        is_fresh = true;
                        continue;
                    }
                    let was_published = std::mem::replace(&mut self.is_published, true);
                    // Guarded, whatever the condition: what was here before an insert is not this key's.
                    let staged = self.staged;
                    let insert = Insert {
                        buckets: &buckets,
                        false_matches: &false_matches,
                        word_after: |before: Word| staged.word_after(before, self.cx.hash).guarded(),
                        place: if self.linked == Word::ZERO { Place::Nothing } else { Place::Relink(staged) },
                    };
                    match insert.run(self.cx, self.commit, &mut self.change).await? {
                        Inserted::Done(found) => return Ok(PutOutcome::Done(found)),
                        Inserted::Again => {}
                        Inserted::Full => {
                            // Nothing was posted this time.
                            self.is_published = was_published;
                            return Err(Failure::harmless(ProtocolError::IndexFull));
                        }
                    }
                }
            }
        }
        Err(Failure::harmless(ProtocolError::Contended { attempts: MAX_ATTEMPTS }))
    }

    fn word_after(&self, before: Word, guarded: bool) -> Word {
        let word = self.staged.word_after(before, self.cx.hash);
        if guarded { word.guarded() } else { word }
    }

    /// The buckets at the primary; with `speculate` the entry goes everywhere meanwhile, since the key may be new.
    async fn read_buckets(&mut self, buckets: &BucketPair, speculate: bool) -> Result<(), Failure> {
        let place = speculate && !self.is_placed;
        if place {
            self.staged.follow(Word::ZERO);
        }
        let write = |chain, segment| if place { self.staged.write(chain, segment) } else { chain };
        let chain = write(Chain::new(), self.cx.primary_segment());
        let primary = self.cx.post_primary(buckets.read(chain, self.cx.primary_segment()));
        let backups = self.cx.home.backups().iter().enumerate().filter(|_| place);
        let backups = backups.map(|(i, m)| self.cx.post_backup(i, write(Chain::new(), &m.segment)));
        for answer in join_all(std::iter::once(primary).chain(backups)).await {
            answer.map_err(Failure::harmless)?;
        }
        self.is_placed |= place;
        Ok(())
    }

    /// With a cached word: it proves the key, since words do not recur, but not that it is current.
    async fn attempt_known(&mut self, found: Found) -> Result<Attempt, Failure> {
        match self.condition {
            Condition::IfAbsent => return Ok(Attempt::Again),
            Condition::IfVersion(v) if v != found.word => return Ok(Attempt::Again),
            _ => {}
        }
        match self.replace(found, false).await? {
            Attempt::Over(outcome) => Ok(Attempt::Over(outcome)),
            Attempt::Again => {
                self.cx.note(Event::StaleCache);
                match self.refresh(found).await? {
                    Some(fresh) if !matches!(self.condition, Condition::IfVersion(_)) => {
                        self.replace(fresh, true).await
                    }
                    _ => Ok(Attempt::Again),
                }
            }
        }
    }

    /// The word that a slot of this key holds now, read within this operation and settled.
    async fn refresh(&mut self, found: Found) -> Result<Option<Found>, Failure> {
        let at = self.cx.primary_segment().slot(found.slot);
        let answers =
            self.cx.post_primary(Chain::new().read_word_pair(at)).await.map_err(Failure::harmless)?;
        let now = Slot { word: answers[0], committed: answers[1] };
        let word = now.word();
        if !word.is_visible() || word.fingerprint() != self.cx.hash.fingerprint() {
            return Ok(None);
        }
        if crate::index::key_at(self.cx, found.slot, word).await? != Some(true) {
            return Ok(None);
        }
        if self.commit.needs_settling(&now) && self.commit.settle(self.cx, found.slot, now).await? != word {
            return Ok(None);
        }
        Ok(Some(Found { word, ..found }))
    }

    /// Replaces the word of a slot that holds this key. `in_operation`: the word was read within this operation.
    async fn replace(&mut self, found: Found, in_operation: bool) -> Result<Attempt, Failure> {
        let is_versioned = matches!(self.condition, Condition::IfVersion(_));
        let to = self.word_after(found.word, is_versioned);
        let place = if self.is_placed { Place::Relink(self.staged) } else { Place::Entry(self.staged) };
        if !self.is_placed {
            self.staged.follow(found.word);
        }
        self.linked = found.word;
        self.is_published = true;
        let change = Replace::new(found.slot, found.word, to, place);
        // Who asked for a condition wants to know what was there, not that something was.
        let in_operation = in_operation || mutant::is(Mutant::ClaimOnCached);
        let last_writer_wins = in_operation && self.condition == Condition::Always;
        self.change = Some(InDoubt::of(&change, in_operation, last_writer_wins));
        match self.commit.replace(self.cx, &change).await? {
            Replaced::Won => {
                self.staged.note_replaced(found.word);
                self.commit.conclude(self.cx, found.slot, to, Concluded::Update);
                Ok(Attempt::Over(PutOutcome::Done(Found { word: to, ..found })))
            }
            Replaced::Lost { now } => {
                self.is_placed = true;
                self.cx.note(Event::LostAtPrimary);
                if !last_writer_wins {
                    return Ok(Attempt::Again);
                }
                if !may_have_been_just_before(self.cx, found, now).await? {
                    self.cx.note(Event::LostToGuarded);
                    return Ok(Attempt::Again);
                }
                self.cx.note(Event::LastWriterWins);
                Ok(Attempt::Over(PutOutcome::Overwritten { word: to }))
            }
        }
    }
}

/// Whether a PUT without a condition, which read `found` within the operation and lost to `now`, may claim to have been just
/// before `now`.
///
/// Not if `now` was put on a condition about its predecessor, which was not us. And only if it follows a value of this
/// very key: by one version it does; otherwise the slot may have changed hands, and the key is looked at. (Inserts are
/// guarded, so an unguarded word that names this key has replaced a value of it.)
pub(crate) async fn may_have_been_just_before<F: Fabric>(
    cx: &Context<'_, F>,
    found: Found,
    now: Word,
) -> Result<bool, Failure> {
    if now.is_guarded() && !mutant::is(Mutant::GuardedClaimed) || now.is_tentative() {
        return Ok(false);
    }
    if now.version().steps_from(found.word.version()) == 1 {
        return Ok(true);
    }
    Ok(now.is_visible() && crate::index::key_at(cx, found.slot, now).await? == Some(true))
}
