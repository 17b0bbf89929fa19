//! DELETE.

use super::get::look_up;
use super::{Known, MAX_ATTEMPTS, back_off};
use crate::view::InDoubt;
use crate::{Commit, Concluded, Context, Event, Failure, Found, Place, ProtocolError, Replace, Replaced};
use farrow_fabric::Fabric;
use farrow_layout::Word;

/// What a DELETE did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// This operation removed the key, which had this word.
    Deleted(Word),
    /// The key is not there any more. Whether this operation removed it or another DELETE at the same time cannot be told:
    /// a view was lost in between, and both would have left the same word.
    Gone,
    /// The key was not there.
    Absent,
    /// The key has another version than asked for: this one.
    Mismatch(Word),
}

/// Removes a key, if `version` is given only as that version. Cost: 1 round trip and 1 CAS a member when `known` is right,
/// 3 round trips when nothing is known. No bytes are written.
///
/// A DELETE that loses its CAS looks again instead of claiming to have been just before the winner: the winner may have
/// been put on the condition that the key be there.
///
/// # Errors
/// [`Failure`]; its effect says whether the key may be gone. [`ProtocolError::Closed`] before anything was posted.
pub async fn delete<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    known: Known,
    version: Option<Word>,
) -> Result<DeleteOutcome, Failure> {
    cx.check_open()?;
    let mut change = None;
    attempts(cx, commit, known, version, &mut change).await.map_err(|failure| failure.leaving(change))
}

async fn attempts<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    known: Known,
    version: Option<Word>,
    change: &mut Option<InDoubt>,
) -> Result<DeleteOutcome, Failure> {
    let mut tried = false;
    // A cached word is tried first; what it meets is only believed after a look of this operation's own.
    if let Some(found) = known.filter(|f| version.is_none_or(|v| v == f.word)) {
        if let Some(done) = remove(cx, commit, found, version, false, change).await? {
            return Ok(done);
        }
        cx.note(Event::StaleCache);
        tried = true;
    }
    for attempt in 0..MAX_ATTEMPTS {
        back_off(cx, attempt).await;
        let Some(found) = look_up(cx, commit).await.map_err(|f| f.after(tried))? else {
            return Ok(DeleteOutcome::Absent);
        };
        if version.is_some_and(|v| v != found.word) {
            return Ok(DeleteOutcome::Mismatch(found.word));
        }
        tried = true;
        if let Some(done) = remove(cx, commit, found, version, true, change).await? {
            return Ok(done);
        }
    }
    Err(Failure::maybe(ProtocolError::Contended { attempts: MAX_ATTEMPTS }))
}

async fn remove<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    found: Found,
    version: Option<Word>,
    read_within: bool,
    change: &mut Option<InDoubt>,
) -> Result<Option<DeleteOutcome>, Failure> {
    let gone = found.word.emptied();
    let gone = if version.is_some() { gone.guarded() } else { gone };
    let removal = Replace::new(found.slot, found.word, gone, Place::Nothing);
    *change = Some(InDoubt::of(&removal, read_within, false));
    match commit.replace(cx, &removal).await? {
        Replaced::Won => {
            commit.conclude(cx, found.slot, gone, Concluded::Delete);
            Ok(Some(DeleteOutcome::Deleted(found.word)))
        }
        Replaced::Lost { now } => {
            cx.note(Event::LostAtPrimary);
            if now == gone {
                // Another DELETE was here before this one, and left the same word: nothing of ours is anywhere.
                *change = None;
            }
            Ok(None)
        }
    }
}
