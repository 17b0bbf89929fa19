//! Bits that rot in entries at rest.

use super::cluster::Cluster;
use super::shadow::open_entry;
use farrow_layout::{HomeId, RemoteAddr, SlotAddr, SlotIndex, Word};
use std::collections::BTreeSet;

/// Entries of which some copy has rotted, by home and word.
pub(super) type Rotten = BTreeSet<(HomeId, u64)>;

/// From an entry's first byte to its checksum.
const CHECKSUM_AT: u64 = 8;

/// Flips a bit in the value, or where there is none in the checksum, of entries that are on all replicas and settled: on
/// one replica of each, or on all. The key and the lengths are spared: a reader that finds another key than its own takes
/// the entry for another's, and looks no further (see `docs/testing.md`).
pub(super) fn rot(cluster: &Cluster, everywhere: bool, rotten: &mut Rotten) {
    let (world, plan) = (&cluster.world, &cluster.plan);
    for home in &cluster.map.homes {
        let members: Vec<_> = home.members.iter().map(|m| (m.node, plan.segment(m.segment))).collect();
        for partition in 0..plan.geometry().partitions {
            for index in (0..plan.slots_per_partition()).map(SlotIndex) {
                let slot = SlotAddr { partition, index };
                let (primary, segment) = members[0];
                let word = Word::from_raw(world.memory(primary).word(segment.slot(slot)));
                let is_cold = word.is_visible()
                    && members.iter().all(|(node, s)| world.memory(*node).word(s.slot(slot)) == word.raw())
                    && !is_pending(cluster, &members[0], slot, word);
                if !is_cold || world.draw(3) == 0 || !rotten.insert((home.id, word.raw())) {
                    continue;
                }
                let entry = open_entry(plan, segment, &world.memory(primary), word)
                    .expect("an entry that was published and has not rotted is whole");
                let one = world.draw(members.len() as u64) as usize;
                let at = match entry.value().len() as u64 {
                    0 => CHECKSUM_AT,
                    len => entry.value_at() as u64 + world.draw(len),
                };
                for (node, segment) in
                    members.iter().enumerate().filter(|(i, _)| everywhere || *i == one).map(|(_, m)| m)
                {
                    let at = RemoteAddr(segment.entry(word.pointer()).0 + at);
                    let byte = world.memory(*node).bytes(at, 1)[0];
                    world.poke(*node, at, &[byte ^ 1 << world.draw(8)]);
                }
                if everywhere || members.len() == 1 {
                    cluster.reach.note_rotten(home.id);
                }
            }
        }
    }
}

/// Whether somebody may yet want to bring the entry to a backup: then it is not cold.
fn is_pending(
    cluster: &Cluster,
    (primary, segment): &(farrow_layout::NodeId, farrow_layout::SegmentPlan),
    slot: SlotAddr,
    word: Word,
) -> bool {
    let committed = cluster.world.memory(*primary).word(segment.committed(slot));
    cluster.map.commit == farrow_control::map::CommitKind::Colocated && committed != word.raw()
}
