//! What became of a change that a lost link left in doubt.

use super::rules::{Past, Step, before, look};
use crate::mutant::{self, Mutant};
use crate::ops::may_have_been_just_before;
use crate::{Commit, Context, Event, Failure, Found, Place, ProtocolError, Replace};
use farrow_fabric::{Chain, Fabric};
use farrow_layout::{SizeClass, Slot, SlotAddr, Word};

/// A change of a slot that was posted, and whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// The slot.
    pub slot: SlotAddr,
    /// What was to be replaced at the primary.
    pub expected: Word,
    /// What was to be replaced at the backups.
    pub expected_at_backups: Word,
    /// By what.
    pub to: Word,
    /// Whether the operation had read `expected` itself.
    pub read_within: bool,
    /// Whether the operation may say that it was overwritten by whatever is there instead.
    pub last_writer_wins: bool,
}

impl InDoubt {
    /// `change`, about to be posted.
    pub(crate) fn of(change: &Replace<'_>, read_within: bool, last_writer_wins: bool) -> InDoubt {
        let &Replace { slot, expected, expected_at_backups, to, .. } = change;
        InDoubt { slot, expected, expected_at_backups, to, read_within, last_writer_wins }
    }

    /// The same change again, with `place` before it.
    pub(crate) fn again<'a>(&self, place: Place<'a>) -> Replace<'a> {
        let &InDoubt { slot, expected, expected_at_backups, to, .. } = self;
        Replace { slot, expected, expected_at_backups, to, place }
    }
}

/// What became of it. Whatever it is, it is on all replicas of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It happened, and is there still.
    Standing,
    /// It happened, or may be said to have, and something else came after it.
    Overwritten,
    /// It did not happen, and the slot still holds what it was to replace. In a view that has been closed and made alike it
    /// never will; in one in which only this client's links were lost it may still lie on backups: then this very change is
    /// to be tried again before anything else.
    NotYet,
    /// It did not happen and never will: the operation may be tried again.
    NotApplied,
    /// Too much has happened since: nobody can say.
    Unknown,
}

/// Steps of a slot's past that are looked at before the outcome counts as unknown.
const MOST_STEPS: u32 = 16;
/// Looks at a slot that keeps changing.
const MAX_ROUNDS: u32 = 1000;

/// Finds out what became of a change, in a view whose fence has ended all verbs of the one in which it was posted.
///
/// The primary's word is read and brought to all replicas before anything is concluded from it: a claim to have been
/// overwritten by a word that a second loss takes back would be a lost write (found by the search of the model: mutant
/// `ack_pending`). Cost: 1 round trip, and 1 for each change since; more where the slot is pending.
///
/// # Errors
/// [`Failure`] that leaves the same doubt: the view is lost too. [`ProtocolError::Closed`]: what has not happened at this
/// primary may still come up if it is lost before the others are like it, so nothing is concluded until the view opens.
pub async fn settle_in_doubt<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    doubt: &InDoubt,
) -> Result<Settled, Failure> {
    let settled = settle(cx, commit, doubt).await.map_err(|f| f.after(true).leaving(Some(*doubt)))?;
    cx.note(match settled {
        Settled::Standing => Event::DoubtStanding,
        Settled::Overwritten => Event::DoubtOverwritten,
        Settled::NotYet | Settled::NotApplied => Event::DoubtNotApplied,
        Settled::Unknown => Event::DoubtUnknown,
    });
    Ok(settled)
}

async fn settle<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    doubt: &InDoubt,
) -> Result<Settled, Failure> {
    cx.check_open()?;
    let now = settled_word(cx, commit, doubt.slot).await?;
    if now == doubt.expected {
        return Ok(Settled::NotYet);
    }
    match past_of(cx, doubt, now).await? {
        Some(true) if now == doubt.to => Ok(Settled::Standing),
        Some(true) => Ok(Settled::Overwritten),
        Some(false) => Ok(Settled::NotApplied),
        None => {
            let found = Found { slot: doubt.slot, word: doubt.expected };
            let may_claim = doubt.last_writer_wins && may_have_been_just_before(cx, found, now).await?;
            Ok(if may_claim { Settled::Overwritten } else { Settled::Unknown })
        }
    }
}

/// The slot's word, once it is on all replicas.
async fn settled_word<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    slot: SlotAddr,
) -> Result<Word, Failure> {
    for _ in 0..MAX_ROUNDS {
        let at = cx.primary_segment().slot(slot);
        let answers = cx.post_primary(Chain::new().read_word_pair(at)).await.map_err(Failure::harmless)?;
        let now = Slot { word: answers[0], committed: answers[1] };
        let is_settled = !commit.needs_settling(&now) || mutant::is(Mutant::ConcludedFromPending);
        if is_settled || commit.settle(cx, slot, now).await? == now.word() {
            return Ok(now.word());
        }
    }
    Err(Failure::harmless(ProtocolError::Contended { attempts: MAX_ROUNDS }))
}

/// Follows the slot's past back from `now` until it shows the change (`true`) or another in its place (`false`).
async fn past_of<F: Fabric>(
    cx: &Context<'_, F>,
    doubt: &InDoubt,
    now: Word,
) -> Result<Option<bool>, Failure> {
    let mut past = Past::Word(now);
    for _ in 0..MOST_STEPS {
        match look(doubt, past) {
            Step::Applied => return Ok(Some(true)),
            Step::NotApplied => return Ok(Some(false)),
            Step::Unknown => return Ok(None),
            Step::At(earlier) => past = earlier,
            Step::Before(pointer) => {
                if cx.plan().entry_read_len(pointer, SizeClass::for_len(1)).is_none() {
                    return Err(Failure::harmless(ProtocolError::WildWord { word: now }));
                }
                let at = cx.primary_segment().entry_replaced(pointer);
                let answers = cx.post_primary(Chain::new().read_word(at)).await.map_err(Failure::harmless)?;
                let Some(earlier) = before(past, Word::from_raw(answers[0])) else { return Ok(None) };
                past = earlier;
            }
        }
    }
    Ok(None)
}
