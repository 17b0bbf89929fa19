//! What a node tells about its segments.

use crate::extents::Usage;
use crate::format::Hosted;
use crate::own_memory::offset;
use farrow_control::message::SegmentStats;
use farrow_fabric::Mapping;
use farrow_layout::{ExtentState, ExtentWord, SegmentPlan, SlotAddr, SlotIndex, Word};
use std::sync::atomic::Ordering;

/// Words that are looked at for one segment and one number: a few milliseconds. Beyond, every n-th is looked at.
const SAMPLE: u64 = 1 << 18;

/// The state of one segment. `usage` is the allocator's, at the primary.
pub(crate) fn of_segment(
    hosted: &Hosted,
    segment: &SegmentPlan,
    memory: &Mapping,
    usage: Option<Usage>,
) -> SegmentStats {
    let plan = segment.plan();
    let geometry = plan.geometry();
    let block_bytes = plan.blocks() * geometry.block_len;
    let slots = plan.slots_per_partition() * u64::from(geometry.partitions);
    let mut stats = SegmentStats {
        segment: hosted.segment,
        home: hosted.home,
        rank: hosted.rank,
        index_bytes: plan.index_len(),
        block_bytes,
        used_slots: used_slots(segment, memory, slots),
        slots,
        ..SegmentStats::default()
    };
    match usage {
        Some(usage) => {
            stats.free_bytes = usage.free;
            stats.open_bytes = usage.open;
            stats.orphaned_bytes = usage.orphaned;
            stats.sealed_bytes = usage.sealed;
            stats.dead_bytes = dead_bytes(segment, memory, usage.reached);
        }
        None => from_table(segment, memory, &mut stats),
    }
    stats
}

fn used_slots(segment: &SegmentPlan, memory: &Mapping, slots: u64) -> u64 {
    let per_partition = segment.plan().slots_per_partition();
    let sample = Sample::of(slots);
    let is_used = |slot: &u64| {
        let slot =
            SlotAddr { partition: (slot / per_partition) as u32, index: SlotIndex(slot % per_partition) };
        let word = memory.word(offset(segment.slot(slot))).load(Ordering::Relaxed);
        !Word::from_raw(word).is_empty()
    };
    sample.scale(sample.indices().filter(is_used).count() as u64)
}

fn dead_bytes(segment: &SegmentPlan, memory: &Mapping, reached: u64) -> u64 {
    let extent_len = segment.plan().geometry().extent_len;
    let sample = Sample::of(reached);
    let dead = |extent| memory.word(offset(segment.extent_dead_bytes(extent))).load(Ordering::Relaxed);
    // Clients write these: what cannot be is not believed.
    sample.scale(sample.indices().map(|extent| dead(extent).min(extent_len)).sum())
}

/// A backup knows of its extents what their owners wrote into its table; how full they are it does not know.
fn from_table(segment: &SegmentPlan, memory: &Mapping, stats: &mut SegmentStats) {
    let sample = Sample::of(segment.plan().extents());
    let (mut open, mut sealed) = (0, 0);
    for extent in sample.indices() {
        let word = memory.word(offset(segment.extent_record(extent))).load(Ordering::Relaxed);
        match ExtentWord::from_raw(word).state() {
            ExtentState::Open => open += 1,
            ExtentState::Sealed => sealed += 1,
            ExtentState::Free | ExtentState::Unknown(_) => {}
        }
    }
    let bytes =
        |extents| (sample.scale(extents) * segment.plan().geometry().extent_len).min(stats.block_bytes);
    stats.open_bytes = bytes(open);
    stats.sealed_bytes = bytes(sealed).min(stats.block_bytes - stats.open_bytes);
    stats.free_bytes = stats.block_bytes - stats.open_bytes - stats.sealed_bytes;
}

/// All of `total` things, or every n-th.
#[derive(Clone, Copy)]
struct Sample {
    total: u64,
    step: u64,
}

impl Sample {
    fn of(total: u64) -> Sample {
        let mut step = total.div_ceil(SAMPLE).max(1);
        // Seven slots make a bucket, three buckets a group, and extents come in powers of two: a step that shares a
        // factor with these would always see the same place of each.
        while step > 1 && [2, 3, 7].iter().any(|factor| step.is_multiple_of(*factor)) {
            step += 1;
        }
        Sample { total, step }
    }

    fn indices(self) -> impl Iterator<Item = u64> {
        (0..self.total).step_by(self.step as usize)
    }

    fn scale(self, found: u64) -> u64 {
        if self.step == 1 {
            return found;
        }
        let looked_at = self.total.div_ceil(self.step);
        (u128::from(found) * u128::from(self.total) / u128::from(looked_at)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_fabric_shm::{Hugepages, NodeMemory};
    use farrow_layout::{ClientId, Geometry, HomeId, KeyHash, Plan, Pointer, SizeClass};

    fn segment() -> (SegmentPlan, NodeMemory) {
        let plan = Plan::new(Geometry::for_tests()).unwrap();
        (plan.segment(1), NodeMemory::create(plan.memory_for(2), Hugepages::Off).unwrap())
    }

    const AT_BACKUP: Hosted = Hosted { segment: 1, home: HomeId(3), rank: 1 };

    #[test]
    fn slots_that_name_an_entry_are_counted() {
        let (segment, memory) = segment();
        let word = Word::ZERO.naming(KeyHash::of(b"k"), SizeClass::for_len(64), Pointer::from_offset(0));
        let put = |partition, index, word: Word| {
            let slot = segment.slot(SlotAddr { partition, index: SlotIndex(index) });
            memory.mapping().word(offset(slot)).store(word.raw(), Ordering::Release);
        };
        put(0, 0, word);
        put(1, 1343, word);
        put(1, 5, word.emptied());
        let stats = of_segment(&AT_BACKUP, &segment, &memory.mapping(), None);
        assert_eq!((stats.used_slots, stats.slots), (2, 2 * 64 * 21));
        assert_eq!(stats.free_bytes, stats.block_bytes);
    }

    #[test]
    fn a_backup_reads_its_table() {
        let (segment, memory) = segment();
        let word = ExtentWord::FREE.opened(ClientId(1));
        let garbage = ExtentWord::from_raw(9 << 56);
        for (extent, word) in [(0, word), (1, word.sealed()), (2, word.sealed()), (3, garbage)] {
            memory.mapping().word(offset(segment.extent_record(extent))).store(word.raw(), Ordering::Release);
        }
        let stats = of_segment(&AT_BACKUP, &segment, &memory.mapping(), None);
        assert_eq!((stats.open_bytes, stats.sealed_bytes), (16 << 10, 32 << 10));
        assert_eq!(stats.free_bytes, stats.block_bytes - (48 << 10));
    }

    #[test]
    fn dead_bytes_of_a_lying_client_are_not_believed() {
        let (segment, memory) = segment();
        for (extent, dead) in [(0, 100), (1, u64::MAX), (2, 5000)] {
            memory.mapping().word(offset(segment.extent_dead_bytes(extent))).store(dead, Ordering::Release);
        }
        let usage = Usage { reached: 2, ..Usage::default() };
        let stats = of_segment(&Hosted { rank: 0, ..AT_BACKUP }, &segment, &memory.mapping(), Some(usage));
        assert_eq!(stats.dead_bytes, 100 + (16 << 10), "and the third extent was never handed out");
    }

    #[test]
    fn samples_are_bounded_and_scale() {
        for total in [0, 1, SAMPLE, SAMPLE + 1, 10 * SAMPLE, 1 << 40] {
            let sample = Sample::of(total);
            let looked_at = total.div_ceil(sample.step);
            assert!(looked_at <= SAMPLE, "{total}");
            assert_eq!(sample.scale(looked_at), total);
            assert_eq!(sample.scale(0), 0);
        }
        assert_eq!(Sample::of(SAMPLE).indices().count() as u64, SAMPLE);
    }
}
