//! Where everything lies: offsets of every area, computed once from a geometry.

use crate::{
    BUCKETS_PER_GROUP, CombinedBucket, ENTRY_ALIGN, EntryHeader, ExtentRecord, GROUP_LEN, KeyHash, Pointer,
    Policy, SLOTS_PER_BUCKET, SegmentHeader, SizeClass, SlotIndex, Superblock,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::mem::offset_of;

/// An offset into one node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RemoteAddr(pub u64);

impl fmt::Display for RemoteAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A slot of a home, the same on each of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotAddr {
    /// Which partition of the segment.
    pub partition: u32,
    /// Which slot of it.
    pub index: SlotIndex,
}

/// Bytes of a home's blocks, the same on each of its members: an offset into the block area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockAddr(pub u64);

/// Sizes that are fixed when a cluster is formatted, the same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// How values and slots are protected.
    pub policy: Policy,
    /// Bytes of a segment, a multiple of 4096.
    pub segment_len: u64,
    /// Partitions of the index in a segment.
    pub partitions: u32,
    /// Groups of buckets in a partition, at least 2.
    pub groups: u64,
    /// Bytes of a block: a power of two, 4 KiB to 16 MiB.
    pub block_len: u64,
    /// Bytes of an extent: a power of two, at most a block.
    pub extent_len: u64,
}

/// Why sizes cannot be used together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// A block that is not a power of two between 4 KiB and 16 MiB.
    #[error("block size {0} is not a power of two between 4 KiB and 16 MiB")]
    Block(u64),
    /// An extent that is not a power of two between 1 KiB and a block.
    #[error("extent size {0} is not a power of two between 1 KiB and the block size")]
    Extent(u64),
    /// A segment that is not made of pages.
    #[error("segment size {0} is not a multiple of 4096")]
    Segment(u64),
    /// No partition, or one that is too small or too large to address.
    #[error(
        "an index of {partitions} partitions with {groups} groups of buckets cannot be laid out (at least 1 and 2)"
    )]
    Index {
        /// As given.
        partitions: u32,
        /// As given.
        groups: u64,
    },
    /// Nothing is left for blocks.
    #[error(
        "a segment of {segment} bytes has no room for an index of {index} bytes and a block: give nodes more memory, or lower cluster.max_keys"
    )]
    TooSmall {
        /// Bytes of a segment.
        segment: u64,
        /// Bytes that the index takes.
        index: u64,
    },
    /// More blocks than a word's pointer can name.
    #[error("a segment of {0} bytes is larger than a word's pointer reaches (16 TiB)")]
    TooLarge(u64),
}

impl Geometry {
    /// A small geometry for tests: two partitions, 64 KiB blocks.
    pub fn for_tests() -> Geometry {
        Geometry {
            policy: Policy::Replicate { copies: 3 },
            segment_len: 4 << 20,
            partitions: 2,
            groups: 64,
            block_len: 64 << 10,
            extent_len: 16 << 10,
        }
    }

    /// Groups a partition needs to hold `keys` keys at 70 % of its slots.
    pub fn groups_for(keys: u64) -> u64 {
        let slots_per_group = (BUCKETS_PER_GROUP * SLOTS_PER_BUCKET) as u64;
        (keys.saturating_mul(10) / 7).div_ceil(slots_per_group).max(2)
    }
}

/// Offsets of every area of a segment. Made from a [`Geometry`], by nodes and clients alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    geometry: Geometry,
    partition_len: u64,
    table_at: u64,
    blocks_at: u64,
    blocks: u64,
}

impl Plan {
    /// Lays a geometry out, or says why it cannot be.
    pub fn new(geometry: Geometry) -> Result<Plan, GeometryError> {
        let g = geometry;
        if !g.block_len.is_power_of_two() || !(4 << 10..=16 << 20).contains(&g.block_len) {
            return Err(GeometryError::Block(g.block_len));
        }
        if !g.extent_len.is_power_of_two() || !(1 << 10..=g.block_len).contains(&g.extent_len) {
            return Err(GeometryError::Extent(g.extent_len));
        }
        if !g.segment_len.is_multiple_of(4096) {
            return Err(GeometryError::Segment(g.segment_len));
        }
        if g.segment_len > Pointer::MAX.offset() {
            return Err(GeometryError::TooLarge(g.segment_len));
        }
        if g.partitions == 0 || g.groups < 2 || g.groups > u32::MAX as u64 / 2 {
            return Err(GeometryError::Index { partitions: g.partitions, groups: g.groups });
        }
        let partition_len = (g.groups * GROUP_LEN).next_multiple_of(4096);
        let index = partition_len.saturating_mul(g.partitions as u64);
        let table_at = SegmentHeader::SPACE.saturating_add(index);
        let too_small = GeometryError::TooSmall { segment: g.segment_len, index };
        let left = g.segment_len.checked_sub(table_at).ok_or(too_small)?;
        // Each block takes its bytes and the records of its extents; the block area starts at a block's alignment.
        let records = g.block_len / g.extent_len * size_of::<ExtentRecord>() as u64;
        let mut blocks = left / (g.block_len + records);
        let start = |blocks: u64| (table_at + blocks * records).next_multiple_of(g.block_len.min(4096));
        while blocks > 0 && start(blocks) + blocks * g.block_len > g.segment_len {
            blocks -= 1;
        }
        if blocks == 0 {
            return Err(too_small);
        }
        Ok(Plan { geometry, partition_len, table_at, blocks_at: start(blocks), blocks })
    }

    /// The sizes that the plan was made from.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Blocks in a segment.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Extents in a block.
    pub fn extents_per_block(&self) -> u64 {
        self.geometry.block_len / self.geometry.extent_len
    }

    /// Extents in a segment.
    pub fn extents(&self) -> u64 {
        self.blocks * self.extents_per_block()
    }

    /// Bytes of a segment's index.
    pub fn index_len(&self) -> u64 {
        self.partition_len * self.geometry.partitions as u64
    }

    /// Slots in one partition.
    pub fn slots_per_partition(&self) -> u64 {
        self.geometry.groups * (BUCKETS_PER_GROUP * SLOTS_PER_BUCKET) as u64
    }

    /// Bytes of one partition, padded.
    pub(crate) fn partition_len(&self) -> u64 {
        self.partition_len
    }

    /// From the start of a segment to its table of extents.
    pub(crate) fn table_at(&self) -> u64 {
        self.table_at
    }

    /// From the start of a segment to its blocks.
    pub(crate) fn blocks_at(&self) -> u64 {
        self.blocks_at
    }

    /// Segments that fit a memory of `memory_len` bytes.
    pub fn segments_in(&self, memory_len: u64) -> u32 {
        (memory_len.saturating_sub(Superblock::SPACE) / self.geometry.segment_len) as u32
    }

    /// Bytes of memory that `count` segments take.
    pub fn memory_for(&self, count: u32) -> u64 {
        Superblock::SPACE + count as u64 * self.geometry.segment_len
    }

    /// The longest entry: what a block holds.
    pub fn max_entry_len(&self) -> usize {
        (self.geometry.block_len as usize).min(SizeClass::MAX_LEN)
    }

    /// Segment number `index` of a node.
    pub fn segment(&self, index: u32) -> SegmentPlan {
        SegmentPlan { plan: *self, base: Superblock::SPACE + index as u64 * self.geometry.segment_len }
    }

    /// The two combined buckets of a key.
    pub fn candidates(&self, hash: KeyHash) -> [CombinedBucket; 2] {
        CombinedBucket::candidates(hash, self.geometry.groups)
    }

    /// The extent that `at` lies in.
    pub fn extent_of(&self, at: BlockAddr) -> u64 {
        at.0 / self.geometry.extent_len
    }

    /// The first byte of an extent.
    pub fn extent_start(&self, extent: u64) -> BlockAddr {
        BlockAddr(extent * self.geometry.extent_len)
    }

    /// How many bytes to READ for the entry at `pointer`: its class's, but not past the end of its block.
    /// `None` when the pointer does not lie in the block area: a word that is not one of ours.
    pub fn entry_read_len(&self, pointer: Pointer, class: SizeClass) -> Option<usize> {
        let at = pointer.offset();
        if at >= self.blocks * self.geometry.block_len {
            return None;
        }
        let left = self.geometry.block_len - at % self.geometry.block_len;
        Some((class.read_len() as u64).min(left) as usize)
    }
}

/// The offsets of one segment in one node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPlan {
    plan: Plan,
    base: u64,
}

impl SegmentPlan {
    /// The plan that all segments share.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The [`SegmentHeader`].
    pub fn header(&self) -> RemoteAddr {
        RemoteAddr(self.base)
    }

    /// A combined bucket: one READ of [`crate::COMBINED_LEN`] bytes.
    pub fn bucket(&self, partition: u32, bucket: CombinedBucket) -> RemoteAddr {
        RemoteAddr(self.partition(partition).0 + bucket.offset())
    }

    /// A slot: two words, the word and the committed word.
    pub fn slot(&self, slot: SlotAddr) -> RemoteAddr {
        RemoteAddr(self.partition(slot.partition).0 + slot.index.offset())
    }

    /// A slot's committed word.
    pub fn committed(&self, slot: SlotAddr) -> RemoteAddr {
        RemoteAddr(self.slot(slot).0 + 8)
    }

    /// The first byte of a partition.
    pub fn partition(&self, partition: u32) -> RemoteAddr {
        assert!(partition < self.plan.geometry.partitions, "partition {partition} is not in this segment");
        RemoteAddr(self.base + SegmentHeader::SPACE + partition as u64 * self.plan.partition_len)
    }

    /// The first byte of a group of buckets; groups follow each other.
    pub fn group(&self, partition: u32, group: u64) -> RemoteAddr {
        assert!(group < self.plan.geometry.groups, "group {group} is not in this segment");
        RemoteAddr(self.partition(partition).0 + group * GROUP_LEN)
    }

    /// `count` groups of buckets from `first` on.
    pub fn groups(&self, partition: u32, first: u64, count: u64) -> (RemoteAddr, usize) {
        assert!(
            first + count <= self.plan.geometry.groups,
            "groups {first} + {count} are not in this segment"
        );
        (self.group(partition, first), (count * GROUP_LEN) as usize)
    }

    /// The record of an extent.
    pub fn extent_record(&self, extent: u64) -> RemoteAddr {
        assert!(extent < self.plan.extents(), "extent {extent} is not in this segment");
        RemoteAddr(self.base + self.plan.table_at + extent * size_of::<ExtentRecord>() as u64)
    }

    /// The records of `count` extents from `first` on; they follow each other, [`ExtentRecord`]s without gaps.
    pub fn extent_records(&self, first: u64, count: u64) -> (RemoteAddr, usize) {
        assert!(first + count <= self.plan.extents(), "extents {first} + {count} are not in this segment");
        (self.extent_record(first), count as usize * size_of::<ExtentRecord>())
    }

    /// The dead bytes of an extent.
    pub fn extent_dead_bytes(&self, extent: u64) -> RemoteAddr {
        RemoteAddr(self.extent_record(extent).0 + 8)
    }

    /// Bytes of blocks.
    pub fn block_bytes(&self, at: BlockAddr) -> RemoteAddr {
        assert!(at.0 < self.plan.blocks * self.plan.geometry.block_len, "{at:?} is not in this segment");
        RemoteAddr(self.base + self.plan.blocks_at + at.0)
    }

    /// The entry that a pointer names; the caller has checked it with [`Plan::entry_read_len`].
    pub fn entry(&self, pointer: Pointer) -> RemoteAddr {
        self.block_bytes(BlockAddr(pointer.offset()))
    }

    /// The word in an entry that says which word its own one replaced.
    pub fn entry_replaced(&self, pointer: Pointer) -> RemoteAddr {
        RemoteAddr(self.entry(pointer).0 + offset_of!(EntryHeader, replaced) as u64)
    }
}

const _: () = assert!(ENTRY_ALIGN == 64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn areas_do_not_overlap_and_end_in_the_segment(
            pages in 1u64..20_000, partitions in 1u32..8, groups in 2u64..500, block in 12u32..=20, extent in 10u32..=20,
        ) {
            let g = Geometry {
                policy: Policy::Replicate { copies: 1 },
                segment_len: pages * 4096, partitions, groups,
                block_len: 1 << block, extent_len: 1 << extent.min(block),
            };
            if let Ok(plan) = Plan::new(g) {
                let s = plan.segment(1);
                let last_slot = s.slot(SlotAddr { partition: partitions - 1, index: SlotIndex(plan.slots_per_partition() - 1) });
                prop_assert!(s.header().0 + SegmentHeader::SPACE <= s.partition(0).0);
                prop_assert!(last_slot.0 + 16 <= s.extent_record(0).0);
                let last_record = s.extent_record(plan.extents() - 1);
                prop_assert!(last_record.0 + 16 <= s.block_bytes(BlockAddr(0)).0);
                let end = s.block_bytes(BlockAddr(0)).0 + plan.blocks() * g.block_len;
                prop_assert!(end <= plan.segment(2).header().0);
                prop_assert_eq!(s.extent_record(0).0 % 8, 0);
                prop_assert_eq!(s.block_bytes(BlockAddr(0)).0 % 64, 0);
            }
        }
    }

    #[test]
    fn a_pointer_out_of_the_area_is_not_followed() {
        let plan = Plan::new(Geometry::for_tests()).unwrap();
        let end = plan.blocks() * plan.geometry().block_len;
        let class = SizeClass::for_len(128);
        assert_eq!(plan.entry_read_len(Pointer::from_offset(end - 64), class), Some(64));
        assert_eq!(plan.entry_read_len(Pointer::from_offset(end), class), None);
        assert_eq!(plan.entry_read_len(Pointer::MAX, class), None);
    }

    #[test]
    fn too_little_memory_is_said() {
        let g = Geometry { segment_len: 64 << 10, ..Geometry::for_tests() };
        assert!(matches!(Plan::new(g), Err(GeometryError::TooSmall { .. })));
    }
}
