//! Finding a key's slot.

use super::BucketPair;
use crate::mutant::{self, Mutant};
use crate::ops::EntryRead;
use crate::{Commit, Context, Event, Failure, ProtocolError};
use farrow_fabric::{Chain, Fabric};
use farrow_layout::{Candidate, EntryHeader, Slot, SlotAddr, SlotIndex, Word};

/// A key's slot and the word that names its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// The slot.
    pub slot: SlotAddr,
    /// Its word, on all replicas.
    pub word: Word,
}

/// What a look at the key's buckets showed.
pub(crate) enum Lookup {
    /// The key is there; its entry, as far as it was asked for, has been read.
    Present(Found, EntryRead),
    /// The key is nowhere, and that will not be taken back. The slots whose fingerprint matched falsely.
    Absent(Vec<(SlotIndex, Word)>),
    /// Something changed in between.
    Again,
}

/// Entries that one chain looks at: two verbs each.
const ENTRIES_PER_CHAIN: usize = farrow_fabric::MAX_CHAIN / 2;

/// Looks for the key among `buckets`, which have just been read at the primary.
///
/// Cost: one round trip when a fingerprint matches, none when none does; more when a slot has to be settled.
pub(crate) async fn find<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    buckets: &BucketPair,
    read: impl Fn(&Context<'_, F>, Word, usize) -> Result<EntryRead, Failure>,
) -> Result<Lookup, Failure> {
    let all = buckets.candidates();
    let same_print =
        |c: &&Candidate| c.slot.word() != Word::ZERO && c.slot.word().fingerprint() == cx.hash.fingerprint();
    let is_visible = |w: Word| w.is_visible() || mutant::is(Mutant::TentativeVisible) && !w.is_empty();
    let visible: Vec<_> = all.iter().filter(same_print).filter(|c| is_visible(c.slot.word())).collect();
    let mut false_matches = Vec::new();
    for group in visible.chunks(ENTRIES_PER_CHAIN) {
        let reads =
            group.iter().map(|c| read(cx, c.slot.word(), visible.len())).collect::<Result<Vec<_>, _>>()?;
        let chain = group.iter().zip(&reads).fold(Chain::new(), |chain, (c, r)| {
            let chain = r.post(chain, cx.primary_segment());
            chain.read_word_pair(cx.primary_segment().slot(buckets.slot(c.index)))
        });
        let answers = cx.post_primary(chain).await.map_err(Failure::harmless)?;
        for (i, (candidate, read)) in group.iter().zip(reads).enumerate() {
            let slot = buckets.slot(candidate.index);
            let now = Slot { word: answers[2 * i], committed: answers[2 * i + 1] };
            if now.word() != candidate.slot.word() {
                cx.note(Event::Restarted);
                return Ok(Lookup::Again);
            }
            if !read.names(cx.key) {
                cx.note(Event::FalseMatch);
                false_matches.push((candidate.index, now.word()));
                continue;
            }
            let settles = commit.needs_settling(&now) && !mutant::is(Mutant::ReadersDoNotHelp);
            if settles && commit.settle(cx, slot, now).await? != now.word() {
                cx.note(Event::Restarted);
                return Ok(Lookup::Again);
            }
            return Ok(Lookup::Present(Found { slot, word: now.word() }, read));
        }
    }
    // A slot that lost this key a moment ago, but not on all replicas yet, could get it back.
    let emptied = all.iter().filter(same_print).filter(|c| c.slot.word().is_empty());
    let emptied = emptied.filter(|_| !mutant::is(Mutant::AbsenceUnsettled));
    for candidate in emptied.filter(|c| commit.needs_settling(&c.slot)) {
        if commit.settle(cx, buckets.slot(candidate.index), candidate.slot).await? != candidate.slot.word() {
            cx.note(Event::Restarted);
            return Ok(Lookup::Again);
        }
    }
    Ok(Lookup::Absent(false_matches))
}

/// Whether `word`'s entry at the primary is of the context's key; `None` if `slot` holds another word by now.
pub(crate) async fn key_at<F: Fabric>(
    cx: &Context<'_, F>,
    slot: SlotAddr,
    word: Word,
) -> Result<Option<bool>, Failure> {
    let read = EntryRead::key_only(cx, word)?;
    let chain = read.post(Chain::new(), cx.primary_segment()).read_word(cx.primary_segment().slot(slot));
    let answers = cx.post_primary(chain).await.map_err(Failure::harmless)?;
    Ok((answers[0] == word.raw()).then(|| read.names(cx.key)))
}

/// How many bytes to read for the entry behind `word`, at most.
pub(crate) fn entry_room<F: Fabric>(cx: &Context<'_, F>, word: Word) -> Result<usize, Failure> {
    let class = word.class().expect("only words that name an entry are followed");
    cx.plan()
        .entry_read_len(word.pointer(), class)
        .filter(|room| *room > EntryHeader::LEN)
        .ok_or_else(|| Failure::harmless(ProtocolError::WildWord { word }))
}
