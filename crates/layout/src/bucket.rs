//! Buckets of slots: RACE's two-choice table with shared overflow buckets.

use crate::described::layout;
use crate::{KeyHash, Word};
use zerocopy::{FromBytes, IntoBytes};

/// Slots in one bucket.
pub const SLOTS_PER_BUCKET: usize = 7;
/// Buckets in one group: two main buckets and the overflow bucket that they share.
pub const BUCKETS_PER_GROUP: usize = 3;
/// Bytes of a group.
pub const GROUP_LEN: u64 = (BUCKETS_PER_GROUP * size_of::<Bucket>()) as u64;
/// Bytes of a combined bucket: a main bucket and its overflow bucket, contiguous.
pub const COMBINED_LEN: usize = 2 * size_of::<Bucket>();

layout! {
    /// A slot. It is *pending* while its two words differ at the primary: then its change may not be on all replicas.
    pub struct Slot: 16 bytes {
        /// The slot's value.
        0 => word: u64, "any client that can show the old word: CAS only, on every replica; the agent that closed the home also writes it anew, as it is", "aligned; atomic";
        /// At the primary: the last word known to be on all replicas.
        8 => committed: u64, "any client that has seen `word` on every replica, and the agent that closed the home: WRITE, at the primary only", "aligned; late or lost it only makes the slot look pending";
    }
}

layout! {
    /// Seven slots. Bucket 0 and 2 of a group are main buckets, bucket 1 is their shared overflow.
    pub struct Bucket: 128 bytes {
        /// Zero until tables split: local depth and suffix.
        0 => depth: u64, "nobody yet", "constant";
        /// Zero.
        8 => reserved: u64, "nobody yet", "constant";
        /// The slots.
        16 => slots: [Slot; 7], "see Slot", "see Slot";
    }
}

impl Slot {
    /// The slot's word.
    pub fn word(&self) -> Word {
        Word::from_raw(self.word)
    }

    /// The last word known to be on all replicas.
    pub fn committed(&self) -> Word {
        Word::from_raw(self.committed)
    }

    /// Whether the last change may not be on all replicas yet.
    pub fn is_pending(&self) -> bool {
        self.word != self.committed
    }
}

/// A slot's place in its partition: counts slots from the first group on, and so orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotIndex(pub u64);

impl SlotIndex {
    /// The group that it lies in.
    pub fn group(self) -> u64 {
        self.0 / (BUCKETS_PER_GROUP * SLOTS_PER_BUCKET) as u64
    }

    /// Bytes from the start of the partition to the slot.
    pub fn offset(self) -> u64 {
        let bucket = self.0 / SLOTS_PER_BUCKET as u64;
        let slot = self.0 % SLOTS_PER_BUCKET as u64;
        bucket * size_of::<Bucket>() as u64 + 16 + slot * size_of::<Slot>() as u64
    }
}

/// One of a key's two candidates: a main bucket and its overflow bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CombinedBucket {
    /// Index among the main buckets of the partition.
    pub main: u64,
}

impl CombinedBucket {
    /// The two candidates of a key in a partition of `groups` groups.
    pub fn candidates(hash: KeyHash, groups: u64) -> [CombinedBucket; 2] {
        hash.buckets(groups * 2).map(|main| CombinedBucket { main })
    }

    /// The first of the two physical buckets, counted from the start of the partition.
    fn first_bucket(self) -> u64 {
        // Even: main, overflow. Odd: overflow, main.
        self.main / 2 * BUCKETS_PER_GROUP as u64 + self.main % 2
    }

    /// Bytes from the start of the partition; [`COMBINED_LEN`] bytes from there are one READ.
    pub fn offset(self) -> u64 {
        self.first_bucket() * size_of::<Bucket>() as u64
    }

    /// The slots in the bytes of one READ: index, whether it lies in the main bucket, and the slot.
    ///
    /// # Panics
    /// If `bytes` is not [`COMBINED_LEN`] long: our own buffer went wrong.
    pub fn slots(self, bytes: &[u8]) -> impl Iterator<Item = (SlotIndex, bool, Slot)> + use<> {
        let buckets = <[Bucket; 2]>::read_from_bytes(bytes).expect("a combined bucket was read");
        let first = self.first_bucket();
        let main_at = (self.main % 2) as usize;
        (0..2).flat_map(move |b| {
            (0..SLOTS_PER_BUCKET).map(move |s| {
                let index = SlotIndex((first + b as u64) * SLOTS_PER_BUCKET as u64 + s as u64);
                (index, b == main_at, buckets[b].slots[s])
            })
        })
    }
}

/// All slots of a partition that lie in `bytes`, which were read from group `first_group` on: whole groups.
///
/// # Panics
/// If `bytes` are not whole groups: our own buffer went wrong.
pub fn slots_of_groups(bytes: &[u8], first_group: u64) -> impl Iterator<Item = (SlotIndex, Slot)> + '_ {
    assert!((bytes.len() as u64).is_multiple_of(GROUP_LEN), "whole groups were read");
    let first = first_group * (BUCKETS_PER_GROUP * SLOTS_PER_BUCKET) as u64;
    let buckets = bytes.chunks_exact(size_of::<Bucket>());
    let buckets = buckets.map(|b| Bucket::read_from_bytes(b).expect("a bucket's bytes"));
    (first..).map(SlotIndex).zip(buckets.flat_map(|b| b.slots))
}

/// Puts `slot` as number `index` of its partition into `bytes`, which hold whole groups from `first_group` on.
///
/// # Panics
/// If the slot does not lie in `bytes`.
pub fn put_slot_into_groups(bytes: &mut [u8], first_group: u64, index: SlotIndex, slot: Slot) {
    let at = (index.offset() - first_group * GROUP_LEN) as usize;
    bytes[at..at + size_of::<Slot>()].copy_from_slice(slot.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn a_slot_that_was_put_into_groups_is_found_there() {
        let mut bytes = vec![0; 2 * GROUP_LEN as usize];
        let slot = Slot { word: 7, committed: 9 };
        for index in (5 * 21..7 * 21).map(SlotIndex) {
            put_slot_into_groups(&mut bytes, 5, index, slot);
            let there: Vec<_> = slots_of_groups(&bytes, 5).filter(|(_, s)| *s == slot).collect();
            assert_eq!(there, [(index, slot)]);
            put_slot_into_groups(&mut bytes, 5, index, Slot { word: 0, committed: 0 });
        }
    }

    #[test]
    fn neighbours_share_their_overflow_bucket() {
        let mut bytes = [0u8; 3 * 128];
        for (i, w) in bytes.as_mut_bytes().chunks_mut(8).enumerate() {
            w.copy_from_slice(&(i as u64).to_le_bytes());
        }
        let even: Vec<_> = CombinedBucket { main: 0 }.slots(&bytes[..256]).collect();
        let odd: Vec<_> = CombinedBucket { main: 1 }.slots(&bytes[128..]).collect();
        assert_eq!(even[7], {
            let (i, _, s) = odd[0];
            (i, false, s)
        });
        assert!(even[0].1 && !even[7].1 && !odd[0].1 && odd[7].1);
    }

    #[test]
    fn an_index_finds_the_slot_that_the_read_showed() {
        for main in [0, 1, 6, 7] {
            let combined = CombinedBucket { main };
            let mut bytes = [0u8; COMBINED_LEN];
            for i in 0..COMBINED_LEN / 8 {
                let at = combined.offset() + i as u64 * 8;
                bytes[i * 8..][..8].copy_from_slice(&at.to_le_bytes());
            }
            for (index, _, slot) in combined.slots(&bytes) {
                assert_eq!(slot.word, index.offset());
            }
        }
    }
}
