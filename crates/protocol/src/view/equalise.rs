//! Making the replicas of a closed home alike: the first survivor's words, everywhere.

use crate::mutant::{self, Mutant};
use crate::ops::EntryRead;
use crate::{Context, Event, Failure, ProtocolError};
use farrow_fabric::{Buffer, Chain, Fabric, join_all};
use farrow_layout::{GROUP_LEN, Slot, SlotAddr, SlotIndex, Word, put_slot_into_groups, slots_of_groups};

/// Groups of buckets that one READ fetches: 24 KiB.
const GROUPS_AT_ONCE: u64 = 64;

/// What was found and done in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Equalised {
    /// Slots that were compared.
    pub slots: u64,
    /// Slots in which the replicas differed.
    pub differed: u64,
    /// Tentative inserts that were withdrawn.
    pub withdrawn: u64,
    /// Slots left as they are, since the first survivor's entry is corrupt: whoever wants the key will be told.
    pub corrupt: u64,
    /// Slots whose word was noted as committed: those that looked pending to the first survivor.
    pub committed: u64,
}

impl Equalised {
    /// The sum of both.
    pub fn and(self, other: Equalised) -> Equalised {
        Equalised {
            slots: self.slots + other.slots,
            differed: self.differed + other.differed,
            withdrawn: self.withdrawn + other.withdrawn,
            corrupt: self.corrupt + other.corrupt,
            committed: self.committed + other.committed,
        }
    }
}

/// Makes all replicas of the context's partition alike. The home must be closed: every link of earlier epochs is broken at
/// every member, and nobody else has a new one.
///
/// The members' order decides. Any word that was ever answered is on every survivor, or a later one is: so whichever
/// survivor is taken, nothing answered is lost. The others' later words were not answered by anybody, and their clients
/// will find that they did not happen. Tentative inserts are withdrawn: their clients start over.
///
/// A view may open without this, and help would do it slot by slot: but a word that only the second survivor holds could
/// then come up when the first is lost too, long after others have read past it.
///
/// At the end of each range of slots their words are noted as committed at the first survivor, where that says something
/// else: the words themselves are written once more with equal bytes, since one WRITE of everything is cheap, and one of each
/// slot is not. So nothing looks pending to a new primary, and reads go on.
///
/// Cost: 1 round trip for 1344 slots, 2 for each of them that differs, and 1 where any looked pending.
///
/// # Errors
/// [`Failure`] when another member is lost: close again, and begin anew. [`ProtocolError::NotFenced`] when somebody writes.
pub async fn equalise<F: Fabric>(cx: &Context<'_, F>) -> Result<Equalised, Failure> {
    let groups = cx.plan().geometry().groups;
    let mut total = Equalised::default();
    let room = (GROUPS_AT_ONCE.min(groups) * GROUP_LEN) as usize;
    let buffers: Vec<Buffer> =
        cx.home.members().iter().map(|_| cx.fabric.buffers().take(room)).collect::<Result<_, _>>()?;
    let mut group = 0;
    while group < groups {
        let count = GROUPS_AT_ONCE.min(groups - group);
        let len = (count * GROUP_LEN) as usize;
        let posted = cx.home.members().iter().zip(&buffers).map(|(member, buffer)| {
            let at = member.segment.group(cx.partition, group);
            cx.meter.post(&member.link, Chain::new().read(at, buffer.slice(0, len)))
        });
        for answer in join_all(posted.collect::<Vec<_>>()).await {
            answer.map_err(Failure::harmless)?;
        }
        let slots: Vec<Vec<Slot>> = buffers
            .iter()
            .map(|b| b.with(|bytes| slots_of_groups(&bytes[..len], group).map(|(_, slot)| slot).collect()))
            .collect();
        let indices = buffers[0]
            .with(|bytes| slots_of_groups(&bytes[..len], group).map(|(index, _)| index).collect::<Vec<_>>());
        let mut pending = Vec::new();
        for (at, index) in indices.iter().enumerate() {
            total.slots += 1;
            let first = slots[0][at];
            let target = target(first.word());
            if (first.word(), first.committed()) != (target, target) {
                pending.push((*index, target));
            }
        }
        if mutant::is(Mutant::CommittedBeforeAlike) && pending.iter().all(|(_, word)| word.is_visible()) {
            commit(cx, &buffers[0], group, &pending).await?;
        }
        for (at, index) in indices.into_iter().enumerate() {
            let held: Vec<Word> = slots.iter().map(|member| member[at].word()).collect();
            let slot = SlotAddr { partition: cx.partition, index };
            if !fix(cx, slot, &held, &mut total).await? {
                pending.retain(|(pending, _)| *pending != index);
            }
        }
        total.committed += commit(cx, &buffers[0], group, &pending).await?;
        group += count;
    }
    Ok(total)
}

/// Notes at the primary that `words` are on all members. `read` is what was read there, from `first_group` on; what has been
/// fixed since is in `words`, or the WRITE of everything around would take it back.
async fn commit<F: Fabric>(
    cx: &Context<'_, F>,
    read: &Buffer,
    first_group: u64,
    words: &[(SlotIndex, Word)],
) -> Result<u64, Failure> {
    let (Some((first, _)), Some((last, _))) = (words.first(), words.last()) else { return Ok(0) };
    cx.note(Event::NotedCommitted);
    read.with_mut(|bytes| {
        for (index, word) in words {
            let slot = Slot { word: word.raw(), committed: word.raw() };
            put_slot_into_groups(bytes, first_group, *index, slot);
        }
    });
    let (from, to) = (first.group(), last.group() + 1);
    let bytes = read.slice(((from - first_group) * GROUP_LEN) as usize, ((to - from) * GROUP_LEN) as usize);
    let at = cx.primary_segment().group(cx.partition, from);
    cx.post_primary(Chain::new().write(at, bytes)).await.map_err(Failure::harmless)?;
    Ok(words.len() as u64)
}

/// What all replicas of a slot are to hold.
fn target(first: Word) -> Word {
    if first.is_tentative() && !first.is_empty() { first.emptied() } else { first }
}

/// Makes one slot alike; `false` if it had to be left as it is.
async fn fix<F: Fabric>(
    cx: &Context<'_, F>,
    slot: SlotAddr,
    held: &[Word],
    total: &mut Equalised,
) -> Result<bool, Failure> {
    let target = target(held[0]);
    if held.iter().all(|word| *word == target) {
        return Ok(true);
    }
    if target != held[0] {
        total.withdrawn += 1;
        cx.note(Event::WithdrewTentative);
    }
    let bytes = if target.is_visible() {
        let bytes = EntryRead::pooled(cx, target)?;
        cx.post_primary(bytes.post(Chain::new(), cx.primary_segment())).await.map_err(Failure::harmless)?;
        Some(bytes)
    } else {
        None
    };
    let mut changes = Vec::new();
    for (member, held) in cx.home.members().iter().zip(held).filter(|(_, held)| **held != target) {
        // Bytes first: the chain that wrote the first survivor's word may never have reached this one.
        let chain = match &bytes {
            None => Chain::new(),
            Some(_) if mutant::is(Mutant::EqualisedWithoutBytes) => Chain::new(),
            Some(bytes) => match bytes.write_to(Chain::new(), &member.segment, target) {
                Ok(chain) => chain,
                Err(Failure { error: ProtocolError::Corrupt { .. }, .. }) => {
                    total.corrupt += 1;
                    return Ok(false);
                }
                Err(failure) => return Err(failure),
            },
        };
        changes.push((member, *held, chain));
    }
    total.differed += 1;
    cx.note(Event::Equalised);
    let expected: Vec<Word> = changes.iter().map(|(_, held, _)| *held).collect();
    let posted: Vec<_> = changes
        .into_iter()
        .map(|(member, held, chain)| {
            let at = member.segment.slot(slot);
            cx.meter.post(&member.link, chain.compare_swap(at, held.raw(), target.raw()))
        })
        .collect();
    for (held, answer) in expected.into_iter().zip(join_all(posted).await) {
        if answer.map_err(Failure::harmless)?[0] != held.raw() {
            return Err(Failure::harmless(ProtocolError::NotFenced { slot: slot.index.0 }));
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::{KeyHash, Pointer, SizeClass};

    #[test]
    fn the_first_survivors_word_is_what_all_are_to_hold_unless_it_is_tentative() {
        let word = Word::ZERO.naming(KeyHash::of(b"k"), SizeClass::for_len(9), Pointer::from_offset(64));
        assert_eq!(target(word), word);
        assert_eq!(target(word.emptied()), word.emptied());
        assert_eq!(target(Word::ZERO), Word::ZERO);
        assert_eq!(target(word.tentative()), word.tentative().emptied());
    }
}
