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
use crate::{Commit, Concluded, Context, Event, Failure, Place, ProtocolError, Replace, Replaced};
use farrow_fabric::{Chain, Fabric};
use farrow_layout::{SlotAddr, SlotIndex, Word, choose_free_slot};

/// How an attempt to place a key ended.
pub(crate) enum Inserted {
    /// The key is there, on all replicas.
    Done(Found),
    /// Somebody else was faster, here or with the same key; the buckets have been read again.
    Again,
    /// Both buckets are full.
    Full,
}

/// Places the context's key. Its entry is on all members already; `buckets` were just read and do not hold the key, and
/// `false_matches` are the slots that only look like it. `word_after` makes the word that follows a given one.
///
/// Cost: one round trip in a slot that was never used, two in a recycled one.
pub(crate) async fn insert<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    buckets: &BucketPair,
    false_matches: &[(SlotIndex, Word)],
    word_after: impl Fn(Word) -> Word,
) -> Result<Inserted, Failure> {
    let mut candidates = buckets.candidates();
    if mutant::is(Mutant::OrderPerClient) && cx.fabric.random().is_multiple_of(2) {
        candidates.reverse();
    }
    let Some((index, expected)) = choose_free_slot(&candidates) else {
        return Ok(Inserted::Full);
    };
    let slot = buckets.slot(index);
    if expected != Word::ZERO {
        let seen = candidates.iter().find(|c| c.index == index).expect("it was chosen of these").slot;
        if commit.needs_settling(&seen) && !mutant::is(Mutant::PendingRecycled) {
            // A key that was deleted here may still be on a backup: once the slot says something else, nobody would know.
            commit.settle(cx, slot, seen).await?;
            return Ok(Inserted::Again);
        }
        cx.note(Event::RecycledSlot);
        return insert_recycled(cx, commit, buckets, false_matches, slot, expected, word_after(expected))
            .await;
    }
    // No rival needs to be looked for. Another slot could hold the key only if its inserter had seen no slot that was never
    // used, or another choice among them; but ours was one until this CAS, and the choice is the same for everybody.
    let word = word_after(expected);
    if let Replaced::Lost { .. } =
        commit.replace(cx, &Replace::new(slot, expected, word, Place::Nothing)).await?
    {
        cx.note(Event::LostAtPrimary);
        if mutant::is(Mutant::ConflictIsSuccess) {
            return Ok(Inserted::Done(Found { slot, word }));
        }
        return Ok(Inserted::Again);
    }
    commit.conclude(cx, slot, word, Concluded::Insert);
    Ok(Inserted::Done(Found { slot, word }))
}

async fn insert_recycled<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    buckets: &BucketPair,
    false_matches: &[(SlotIndex, Word)],
    slot: SlotAddr,
    nonce: Word,
    word: Word,
) -> Result<Inserted, Failure> {
    let tentative = word.tentative();
    let at = cx.primary_segment().slot(slot);
    let chain = Chain::new().compare_swap(at, nonce.raw(), tentative.raw());
    let answers =
        cx.post_primary(buckets.read(chain, cx.primary_segment())).await.map_err(Failure::harmless)?;
    if answers[0] != nonce.raw() {
        cx.note(Event::LostAtPrimary);
        return Ok(Inserted::Again);
    }
    if !mutant::is(Mutant::RivalsUnread)
        && let Rivals::Established = resolve_rivals(cx, commit, buckets, slot, false_matches).await?
    {
        cx.note(Event::Yielded);
        empty_tentative(cx, commit, slot, tentative, nonce).await?;
        return Ok(Inserted::Again);
    }
    let visible = tentative.confirmed();
    let confirm =
        Replace { expected_at_backups: nonce, ..Replace::new(slot, tentative, visible, Place::Nothing) };
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
async fn remove_tentative<F: Fabric, C: Commit>(
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
