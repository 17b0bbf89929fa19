//! Placing a new key, so that of two inserters of one key at most one succeeds.
//!
//! A slot that was never used is taken outright: two inserters of one key choose the same one
//! ([`farrow_layout::choose_free_slot`] says why), so one CAS fails; and nobody recycles a slot who sees one that was never
//! used, so no rival is anywhere else. A recycled slot is taken *tentatively*, at the
//! primary alone and invisible to readers, and confirmed by a second CAS once a fresh look at the buckets has shown no
//! rival. Everybody removes tentative rivals (removal and confirmation are changes of the same word, so they exclude each
//! other) and yields to visible ones. Of two tentative rivals the later one sees the earlier, so at most one of them is
//! ever visible; and a claim whose client has stopped stands in nobody's way.

use super::BucketPair;
use super::lookup::{Found, key_at};
use crate::mutant::{self, Mutant};
use crate::view::InDoubt;
use crate::{Commit, Concluded, Context, Event, Failure, Place, ProtocolError, Replace, Replaced};
use farrow_fabric::{Chain, Fabric};
use farrow_layout::{Slot, SlotAddr, SlotIndex, Word, choose_free_slot};

/// How an attempt to place a key ended.
pub(crate) enum Inserted {
    /// The key is there, on all replicas.
    Done(Found),
    /// Somebody else was faster, here or with the same key; the buckets have been read again.
    Again,
    /// Both buckets are full.
    Full,
}

/// A key to be placed. Its entry is on all members already.
pub(crate) struct Insert<'a, W> {
    /// The key's buckets: just read, and without the key.
    pub(crate) buckets: &'a BucketPair,
    /// Slots that only look like the key's.
    pub(crate) false_matches: &'a [(SlotIndex, Word)],
    /// Makes the entry's word that follows a given one.
    pub(crate) word_after: W,
    /// What still goes before the word: nothing, or that the entry does not replace what it said it would.
    pub(crate) place: Place<'a>,
}

impl<W: Fn(Word) -> Word> Insert<'_, W> {
    /// Places it. Cost: one round trip in a slot that was never used, two in a recycled one. `change` becomes the change that
    /// may still happen if this fails.
    pub(crate) async fn run<F: Fabric, C: Commit>(
        self,
        cx: &Context<'_, F>,
        commit: C,
        change: &mut Option<InDoubt>,
    ) -> Result<Inserted, Failure> {
        let mut candidates = self.buckets.candidates();
        if mutant::is(Mutant::OrderPerClient) && cx.fabric.random().is_multiple_of(2) {
            candidates.reverse();
        }
        let Some((index, expected)) = choose_free_slot(&candidates) else {
            return Ok(Inserted::Full);
        };
        let slot = self.buckets.slot(index);
        if expected != Word::ZERO {
            let seen =
                candidates.into_iter().find(|c| c.index == index).expect("it was chosen of these").slot;
            if commit.needs_settling(&seen) && !mutant::is(Mutant::PendingRecycled) {
                // A key that was deleted here may still be on a backup: once the slot says something else, nobody would know.
                commit.settle(cx, slot, seen).await?;
                return Ok(Inserted::Again);
            }
            cx.note(Event::RecycledSlot);
            return self.into_recycled(cx, commit, slot, expected, change).await;
        }
        // No rival needs to be looked for. Another slot could hold the key only if its inserter had seen no slot that was
        // never used, or another choice among them; but ours was one until this CAS, and the choice is the same for everybody.
        let word = (self.word_after)(expected);
        let placing = Replace::new(slot, expected, word, self.place);
        *change = Some(InDoubt::of(&placing, true, false));
        match commit.replace(cx, &placing).await? {
            Replaced::Won => {
                commit.conclude(cx, slot, word, Concluded::Insert);
                Ok(Inserted::Done(Found { slot, word }))
            }
            Replaced::Lost { .. } => {
                cx.note(Event::LostAtPrimary);
                if mutant::is(Mutant::ConflictIsSuccess) {
                    return Ok(Inserted::Done(Found { slot, word }));
                }
                if !mutant::is(Mutant::StraysLeft) {
                    clear_strays(cx, commit, slot).await?;
                }
                *change = None;
                Ok(Inserted::Again)
            }
        }
    }

    async fn into_recycled<F: Fabric, C: Commit>(
        self,
        cx: &Context<'_, F>,
        commit: C,
        slot: SlotAddr,
        nonce: Word,
        change: &mut Option<InDoubt>,
    ) -> Result<Inserted, Failure> {
        let tentative = (self.word_after)(nonce).tentative();
        let at = cx.primary_segment().slot(slot);
        let chain = Chain::new().compare_swap(at, nonce.raw(), tentative.raw());
        let answers = cx
            .post_primary(self.buckets.read(chain, cx.primary_segment()))
            .await
            .map_err(Failure::harmless)?;
        if answers[0] != nonce.raw() {
            cx.note(Event::LostAtPrimary);
            return Ok(Inserted::Again);
        }
        if !mutant::is(Mutant::RivalsUnread)
            && let Rivals::Established =
                resolve_rivals(cx, commit, self.buckets, slot, self.false_matches).await?
        {
            cx.note(Event::Yielded);
            empty_tentative(cx, commit, slot, tentative, nonce).await?;
            return Ok(Inserted::Again);
        }
        let visible = tentative.confirmed();
        let confirm =
            Replace { expected_at_backups: nonce, ..Replace::new(slot, tentative, visible, self.place) };
        *change = Some(InDoubt::of(&confirm, true, false));
        match commit.replace(cx, &confirm).await? {
            Replaced::Won => {
                commit.conclude(cx, slot, visible, Concluded::Insert);
                Ok(Inserted::Done(Found { slot, word: visible }))
            }
            Replaced::Lost { .. } => {
                cx.note(Event::LostAtPrimary);
                // Two tentative rivals may have removed each other: let one of them be first the next time.
                let pause = std::time::Duration::from_nanos(cx.fabric.random() % 50_000);
                cx.fabric.sleep_until(cx.fabric.now() + pause).await;
                Ok(Inserted::Again)
            }
        }
    }
}

/// Takes back from the backups what an insert that lost its slot at the primary may have left there.
///
/// The slot went to any key, so nobody else who looks for this one would settle it; and if the primary were lost then, a
/// backup would bring this key up in a slot that its client has given up.
async fn clear_strays<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    slot: SlotAddr,
) -> Result<(), Failure> {
    let at = cx.primary_segment().slot(slot);
    let answers = cx.post_primary(Chain::new().read_word_pair(at)).await.map_err(Failure::harmless)?;
    let now = Slot { word: answers[0], committed: answers[1] };
    // A later word than the one returned has been settled by its writer, or the slot could not have moved on.
    if commit.needs_settling(&now) {
        commit.settle(cx, slot, now).await?;
    }
    Ok(())
}

/// Empties a slot that holds a tentative insert; `nonce` is what the backups hold. A change like any other, so that under
/// every commit protocol it excludes the confirmation.
async fn empty_tentative<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    slot: SlotAddr,
    tentative: Word,
    nonce: Word,
) -> Result<Replaced, Failure> {
    let gone = tentative.emptied();
    let change =
        Replace { expected_at_backups: nonce, ..Replace::new(slot, tentative, gone, Place::Nothing) };
    let replaced = commit.replace(cx, &change).await?;
    if let Replaced::Won = replaced {
        commit.conclude(cx, slot, gone, Concluded::Delete);
    }
    Ok(replaced)
}

/// Removes somebody else's tentative insert; the slot's word afterwards.
pub(crate) async fn remove_tentative<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    slot: SlotAddr,
    tentative: Word,
) -> Result<Word, Failure> {
    // What no backup holds: where its client has begun to confirm it, the backups must not be taken from under it.
    let mut nonce = tentative;
    if let Some(backup) = cx.home.backups().first() {
        let chain = Chain::new().read_word(backup.segment.slot(slot));
        let held = Word::from_raw(cx.post_backup(0, chain).await.map_err(Failure::harmless)?[0]);
        if held.is_empty() && held.version().next() == tentative.version() {
            nonce = held;
        }
    }
    match empty_tentative(cx, commit, slot, tentative, nonce).await? {
        Replaced::Won => {
            cx.note(Event::KilledTentative);
            Ok(tentative.emptied())
        }
        Replaced::Lost { now } => Ok(now),
    }
}

/// Whether a key is elsewhere too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rivals {
    /// No other slot holds the key visibly, nor can one that was there before the own one.
    None,
    /// Another slot holds it: yield.
    Established,
}

/// Looks for the context's key in other slots of `buckets`, which were read at the primary behind the CAS of `own`, and
/// removes what is not confirmed.
pub(crate) async fn resolve_rivals<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    buckets: &BucketPair,
    own: SlotAddr,
    false_matches: &[(SlotIndex, Word)],
) -> Result<Rivals, Failure> {
    for candidate in buckets.candidates() {
        let slot = buckets.slot(candidate.index);
        let mut word = candidate.slot.word();
        if slot == own {
            continue;
        }
        let mut rounds = 0;
        while !word.is_empty()
            && word.fingerprint() == cx.hash.fingerprint()
            && !false_matches.contains(&(candidate.index, word))
        {
            match key_at(cx, slot, word).await? {
                Some(false) => break,
                Some(true) if word.is_visible() => return Ok(Rivals::Established),
                // Ours is there already, so it may not have seen ours: it must not be confirmed.
                Some(true) => word = remove_tentative(cx, commit, slot, word).await?,
                None => {
                    let chain = Chain::new().read_word(cx.primary_segment().slot(slot));
                    word = Word::from_raw(cx.post_primary(chain).await.map_err(Failure::harmless)?[0]);
                }
            }
            rounds += 1;
            if rounds == MAX_ROUNDS {
                return Err(Failure::harmless(ProtocolError::Contended { attempts: MAX_ROUNDS }));
            }
        }
    }
    Ok(Rivals::None)
}

/// Looks at one rival's slot at most; each is lost to a change by somebody else.
const MAX_ROUNDS: u32 = 1000;
