//! The way back from an address to what lies there.

use crate::bucket::{Bucket, SLOTS_PER_BUCKET, Slot, SlotIndex};
use crate::plan::{BlockAddr, Plan, RemoteAddr, SlotAddr};
use crate::{Described, ExtentRecord, FieldDoc, SegmentHeader, Superblock};

/// What lies at an address of a node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The segment; of no meaning for the superblock and behind the last segment.
    pub segment: u32,
    /// What it is.
    pub part: Part,
}

/// A part of a node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A field of the superblock.
    Superblock(&'static FieldDoc),
    /// A field of a segment's header.
    Header(&'static FieldDoc),
    /// A field of a bucket, other than its slots.
    Bucket(&'static FieldDoc),
    /// A field of a slot.
    Slot(SlotAddr, &'static FieldDoc),
    /// A field of an extent's record.
    Extent(u64, &'static FieldDoc),
    /// A byte of a block: of an entry, or of nothing yet.
    Block(BlockAddr),
    /// Nothing lies there: padding.
    Nothing,
}

fn field<T: Described>(at: u64) -> Option<&'static FieldDoc> {
    T::FIELDS.iter().find(|f| (f.offset as u64..(f.offset + f.size) as u64).contains(&at))
}

impl Plan {
    /// What lies at `at`.
    pub fn locate(&self, at: RemoteAddr) -> Located {
        let of = |segment, part: Option<Part>| Located { segment, part: part.unwrap_or(Part::Nothing) };
        let Some(within) = at.0.checked_sub(Superblock::SPACE) else {
            return of(0, field::<Superblock>(at.0).map(Part::Superblock));
        };
        let segment = (within / self.geometry().segment_len) as u32;
        let within = within % self.geometry().segment_len;
        let Some(index) = within.checked_sub(SegmentHeader::SPACE) else {
            return of(segment, field::<SegmentHeader>(within).map(Part::Header));
        };
        if let Some(table) = within.checked_sub(self.table_at()) {
            if let Some(block) = within.checked_sub(self.blocks_at()) {
                let is_there = block < self.blocks() * self.geometry().block_len;
                return of(segment, is_there.then_some(Part::Block(BlockAddr(block))));
            }
            let (extent, at) =
                (table / size_of::<ExtentRecord>() as u64, table % size_of::<ExtentRecord>() as u64);
            let record = field::<ExtentRecord>(at).filter(|_| extent < self.extents());
            return of(segment, record.map(|field| Part::Extent(extent, field)));
        }
        let (partition, at) = ((index / self.partition_len()) as u32, index % self.partition_len());
        let (bucket, at) = (at / size_of::<Bucket>() as u64, at % size_of::<Bucket>() as u64);
        if bucket * SLOTS_PER_BUCKET as u64 >= self.slots_per_partition() {
            return of(segment, None);
        }
        let part = match at.checked_sub(SLOTS_AT) {
            None => field::<Bucket>(at).map(Part::Bucket),
            Some(slots) => {
                let within = slots / size_of::<Slot>() as u64;
                let index = SlotIndex(bucket * SLOTS_PER_BUCKET as u64 + within);
                field::<Slot>(slots % size_of::<Slot>() as u64)
                    .map(|field| Part::Slot(SlotAddr { partition, index }, field))
            }
        };
        of(segment, part)
    }
}

const SLOTS_AT: u64 = core::mem::offset_of!(Bucket, slots) as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Geometry;

    fn name(plan: &Plan, at: RemoteAddr) -> &'static str {
        match plan.locate(at).part {
            Part::Superblock(f)
            | Part::Header(f)
            | Part::Bucket(f)
            | Part::Slot(_, f)
            | Part::Extent(_, f) => f.name,
            Part::Block(_) | Part::Nothing => "",
        }
    }

    #[test]
    fn every_slot_record_and_block_is_found_where_the_plan_puts_it() {
        let plan = Plan::new(Geometry::for_tests()).unwrap();
        for segment in [0, 2] {
            let s = plan.segment(segment);
            for partition in 0..plan.geometry().partitions {
                for index in (0..plan.slots_per_partition()).map(SlotIndex) {
                    let slot = SlotAddr { partition, index };
                    for (at, field) in [(s.slot(slot), "word"), (s.committed(slot), "committed")] {
                        let located = plan.locate(at);
                        assert_eq!(located.segment, segment);
                        assert!(matches!(located.part, Part::Slot(found, _) if found == slot), "{located:?}");
                        assert_eq!(name(&plan, at), field);
                    }
                }
            }
            for extent in 0..plan.extents() {
                let located = plan.locate(s.extent_dead_bytes(extent));
                assert!(matches!(located.part, Part::Extent(found, _) if found == extent));
                assert_eq!(name(&plan, s.extent_record(extent)), "word");
                let start = plan.extent_start(extent);
                assert_eq!(plan.locate(s.block_bytes(start)), Located { segment, part: Part::Block(start) });
            }
        }
    }

    #[test]
    fn what_is_padding_is_nothing() {
        let plan = Plan::new(Geometry::for_tests()).unwrap();
        let s = plan.segment(1);
        assert_eq!(name(&plan, RemoteAddr(0)), "magic");
        assert_eq!(name(&plan, s.header()), "magic");
        assert_eq!(name(&plan, s.partition(0)), "depth");
        for padding in [RemoteAddr(Superblock::LEN as u64), RemoteAddr(s.header().0 + 100)] {
            assert_eq!(plan.locate(padding).part, Part::Nothing);
        }
        let end = plan.segment(2).header().0;
        let blocks_end = s.block_bytes(BlockAddr(0)).0 + plan.blocks() * plan.geometry().block_len;
        for at in blocks_end..end {
            assert_eq!(plan.locate(RemoteAddr(at)).part, Part::Nothing);
        }
    }
}
