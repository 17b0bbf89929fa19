//! All slots of a partition, read in large pieces.

use anyhow::{Result, anyhow};
use farrow_fabric::{Chain, Fabric, Link, MAX_CHAIN, block_on_for};
use farrow_layout::{COMBINED_LEN, CombinedBucket, GROUP_LEN, SegmentPlan, Slot, SlotIndex};
use std::time::Duration;

/// Groups of buckets in one READ: 24 KiB.
const GROUPS_PER_READ: u64 = 64;

/// Slots of a partition, piece by piece. Each slot was read once, and its two words are whole; nothing else is promised
/// of slots that change meanwhile.
pub struct Scan<'a, F: Fabric> {
    fabric: &'a F,
    link: &'a F::Link,
    segment: &'a SegmentPlan,
    partition: u32,
    next: u64,
    patience: Duration,
}

impl<'a, F: Fabric> Scan<'a, F> {
    /// A scan that gives up when one piece takes longer than `patience`.
    pub fn new(
        fabric: &'a F,
        link: &'a F::Link,
        segment: &'a SegmentPlan,
        partition: u32,
        patience: Duration,
    ) -> Scan<'a, F> {
        Scan { fabric, link, segment, partition, next: 0, patience }
    }

    /// The next piece; `None` at the end.
    pub fn piece(&mut self) -> Result<Option<Vec<(SlotIndex, Slot)>>> {
        let groups = self.segment.plan().geometry().groups;
        if self.next == groups {
            return Ok(None);
        }
        let mut chain = Chain::new();
        let mut reads = Vec::new();
        while self.next < groups && reads.len() < MAX_CHAIN {
            let count = GROUPS_PER_READ.min(groups - self.next);
            let buffer = self.fabric.buffers().take((count * GROUP_LEN) as usize)?;
            // The groups of a partition are contiguous, and each begins with its even main bucket.
            let first = CombinedBucket { main: 2 * self.next };
            chain = chain.read(self.segment.bucket(self.partition, first), buffer.whole());
            reads.push((self.next, buffer));
            self.next += count;
        }
        let answer = block_on_for(self.fabric, self.patience, self.link.post(chain));
        answer.ok_or_else(|| anyhow!("{} did not answer within {:?}", self.link.node(), self.patience))??;
        let mut slots = Vec::new();
        for (first, buffer) in reads {
            buffer.with(|bytes| {
                for (group, bytes) in bytes.chunks_exact(GROUP_LEN as usize).enumerate() {
                    slots.extend(slots_of(first + group as u64, bytes));
                }
            });
        }
        Ok(Some(slots))
    }
}

/// The slots of one group, each once.
fn slots_of(group: u64, bytes: &[u8]) -> impl Iterator<Item = (SlotIndex, Slot)> {
    let even = CombinedBucket { main: 2 * group };
    let odd = CombinedBucket { main: 2 * group + 1 };
    let odd_at = (odd.offset() - even.offset()) as usize;
    let with_overflow = even.slots(&bytes[..COMBINED_LEN]).map(|(index, _, slot)| (index, slot));
    // The even bucket's slots came with the overflow bucket that both share.
    let rest = odd.slots(&bytes[odd_at..odd_at + COMBINED_LEN]).filter(|(_, is_main, _)| *is_main);
    with_overflow.chain(rest.map(|(index, _, slot)| (index, slot)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::{BUCKETS_PER_GROUP, SLOTS_PER_BUCKET};

    #[test]
    fn every_slot_of_a_group_is_seen_once_and_is_itself() {
        let group = 5;
        let mut bytes = vec![0; GROUP_LEN as usize];
        for (place, word) in bytes.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&(group * GROUP_LEN + place as u64 * 8).to_le_bytes());
        }
        let slots: Vec<_> = slots_of(group, &bytes).collect();
        let per_group = (BUCKETS_PER_GROUP * SLOTS_PER_BUCKET) as u64;
        let mut indices: Vec<_> = slots.iter().map(|(index, _)| index.0).collect();
        indices.sort_unstable();
        assert_eq!(indices, (group * per_group..(group + 1) * per_group).collect::<Vec<_>>());
        for (index, slot) in slots {
            assert_eq!(slot.word, index.offset());
        }
    }
}
