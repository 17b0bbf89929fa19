//! Placing a new key, so that of two inserters of one key at most one succeeds.
//!
//! A slot that was never used is taken outright: two inserters of one key choose the same one
//! ([`farrow_layout::choose_free_slot`] says why), so one CAS fails. A recycled slot is taken *tentatively*, at the
//! primary alone and invisible to readers, and confirmed by a second CAS once a fresh look at the buckets has shown no
//! rival. Whoever takes a slot outright removes tentative rivals (their CAS and the confirmation exclude each other);
//! whoever is tentative yields to everybody. So at most one of the rivals is ever visible.

use super::BucketPair;
use super::lookup::{Found, key_at};
use crate::{Commit, Concluded, Context, Event, Failure, Place, Replace, Replaced};
use farrow_fabric::{Chain, Fabric, join_all};
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
    let Some((index, expected)) = choose_free_slot(&buckets.candidates()) else {
        return Ok(Inserted::Full);
    };
    let slot = buckets.slot(index);
    if expected != Word::ZERO {
        cx.note(Event::RecycledSlot);
        return insert_recycled(cx, commit, buckets, false_matches, slot, expected, word_after(expected))
            .await;
    }
    let word = word_after(expected);
    let change = Replace { reread: Some(buckets), ..Replace::new(slot, expected, word, Place::Nothing) };
    if let Replaced::Lost { .. } = commit.replace(cx, &change).await? {
        cx.note(Event::LostAtPrimary);
        return Ok(Inserted::Again);
    }
    match resolve_rivals(cx, buckets, slot, Claim::Outright, false_matches)
        .await
        .map_err(|f| f.after(true))?
    {
        Rivals::None => {
            commit.conclude(cx, slot, word, Concluded::Insert);
            Ok(Inserted::Done(Found { slot, word }))
        }
        Rivals::Established => {
            cx.note(Event::Yielded);
            withdraw_outright(cx, commit, slot, word).await?;
            Ok(Inserted::Again)
        }
    }
}

/// Takes an insert back that turned out to have an established rival.
pub(crate) async fn withdraw_outright<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    slot: SlotAddr,
    word: Word,
) -> Result<(), Failure> {
    let gone = word.emptied();
    // Lost: somebody else has withdrawn it.
    if let Replaced::Won = commit.replace(cx, &Replace::new(slot, word, gone, Place::Nothing)).await? {
        commit.conclude(cx, slot, gone, Concluded::Delete);
    }
    Ok(())
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
    if let Rivals::Established = resolve_rivals(cx, buckets, slot, Claim::Tentative, false_matches).await? {
        cx.note(Event::Yielded);
        withdraw_tentative(cx, commit, slot, tentative, nonce).await?;
        // Two tentative rivals yield to each other: let one of them be first the next time.
        let pause = std::time::Duration::from_nanos(cx.fabric.random() % 50_000);
        cx.fabric.sleep_until(cx.fabric.now() + pause).await;
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
            Ok(Inserted::Again)
        }
    }
}

/// Empties a slot that holds a tentative insert; `nonce` is what the backups hold. Whether it was still tentative.
async fn withdraw_tentative<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    slot: SlotAddr,
    tentative: Word,
    nonce: Word,
) -> Result<bool, Failure> {
    let gone = tentative.emptied();
    let at = cx.primary_segment().slot(slot);
    let chain = Chain::new().compare_swap(at, tentative.raw(), gone.raw());
    let answers = cx.post_primary(chain).await.map_err(Failure::harmless)?;
    if answers[0] != tentative.raw() {
        return Ok(false);
    }
    let backups = (0..cx.home.backups().len()).map(|i| {
        let at = cx.home.backups()[i].segment.slot(slot);
        cx.post_backup(i, Chain::new().compare_swap(at, nonce.raw(), gone.raw()))
    });
    let mut everywhere = true;
    for answer in join_all(backups).await {
        everywhere &= answer.map_err(Failure::harmless)?[0] == nonce.raw();
    }
    // Otherwise the slot stays pending, and whoever meets it settles it.
    if everywhere {
        commit.conclude(cx, slot, gone, Concluded::Delete);
    }
    Ok(true)
}

/// How the own slot was taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// From never used, visible.
    Outright,
    /// From recycled, invisible.
    Tentative,
}

/// Whether a key is elsewhere too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rivals {
    /// No other slot holds the key, nor can one that was there before the own one.
    None,
    /// Another slot holds it, or (to a tentative claim) may come to hold it: yield.
    Established,
}

/// Looks for the context's key in other slots of `buckets`, which were read at the primary behind the CAS of `own`.
pub(crate) async fn resolve_rivals<F: Fabric>(
    cx: &Context<'_, F>,
    buckets: &BucketPair,
    own: SlotAddr,
    claim: Claim,
    false_matches: &[(SlotIndex, Word)],
) -> Result<Rivals, Failure> {
    for candidate in buckets.candidates() {
        let (slot, seen) = (buckets.slot(candidate.index), candidate.slot);
        let mut word = seen.word();
        if slot == own
            || word.is_empty()
            || word.fingerprint() != cx.hash.fingerprint()
            || false_matches.contains(&(candidate.index, word))
        {
            continue;
        }
        let same = loop {
            match key_at(cx, slot, word).await? {
                Some(same) => break same,
                None => {
                    let answers = cx
                        .post_primary(Chain::new().read_word(cx.primary_segment().slot(slot)))
                        .await
                        .map_err(Failure::harmless)?;
                    word = Word::from_raw(answers[0]);
                    if word.is_empty() {
                        break false;
                    }
                }
            }
        };
        if !same {
            continue;
        }
        if claim == Claim::Tentative || word.is_visible() {
            return Ok(Rivals::Established);
        }
        // Ours is visible, so it cannot have seen ours: it must not be confirmed.
        let gone = word.emptied();
        let at = cx.primary_segment().slot(slot);
        let answers = cx
            .post_primary(Chain::new().compare_swap(at, word.raw(), gone.raw()))
            .await
            .map_err(Failure::harmless)?;
        if answers[0] == word.raw() {
            cx.note(Event::KilledTentative);
        } else if Word::from_raw(answers[0]).is_visible() {
            return Ok(Rivals::Established);
        }
    }
    Ok(Rivals::None)
}
