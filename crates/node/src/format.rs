//! What a node's memory holds before anybody uses it.

use crate::OwnMemory;
use farrow_control::map::ClusterMap;
use farrow_layout::{
    Epoch, HomeId, Incarnation, NodeId, Plan, RemoteAddr, SegmentHeader, SegmentPlan, Superblock,
};
use zerocopy::IntoBytes;

/// A segment that a node hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hosted {
    pub(crate) segment: u32,
    pub(crate) home: HomeId,
    /// 0 at the primary.
    pub(crate) rank: u16,
}

/// The segments of `node`, in their order in its memory.
pub(crate) fn hosted(map: &ClusterMap, node: NodeId) -> Vec<Hosted> {
    let mut hosted: Vec<_> = map
        .homes
        .iter()
        .flat_map(|home| home.members.iter().zip(0..).map(move |(member, rank)| (home.id, member, rank)))
        .filter(|(_, member, _)| member.node == node)
        .map(|(home, member, rank)| Hosted { segment: member.segment, home, rank })
        .collect();
    hosted.sort_by_key(|hosted| hosted.segment);
    hosted
}

/// Formats `memory_len` bytes of zeroed memory: the headers of all segments of `node`, then the superblock, its magic last.
///
/// # Panics
/// If the map's geometry cannot be laid out.
pub fn format(
    memory: &impl OwnMemory,
    memory_len: u64,
    map: &ClusterMap,
    node: NodeId,
    incarnation: Incarnation,
) {
    let plan = map.plan().expect("a map in use has a geometry that can be laid out");
    for hosted in hosted(map, node) {
        // Of those that are there from the beginning, the rank is known.
        let header = SegmentHeader {
            magic: SegmentHeader::MAGIC,
            home: hosted.home.0,
            rank: hosted.rank,
            reserved: 0,
            epoch: map.epoch.0,
            reserved2: 0,
        };
        memory.store(plan.segment(hosted.segment).header(), header.as_bytes());
    }
    format_superblock(memory, memory_len, map, node, incarnation, &plan);
}

/// Writes the header of a segment that becomes a replica of `home`, behind those that there are.
pub(crate) fn format_segment(memory: &impl OwnMemory, segment: &SegmentPlan, home: HomeId, epoch: Epoch) {
    let (magic, rank) = (SegmentHeader::MAGIC, SegmentHeader::JOINED);
    let header = SegmentHeader { magic, home: home.0, rank, reserved: 0, epoch: epoch.0, reserved2: 0 };
    memory.store(segment.header(), header.as_bytes());
}

fn format_superblock(
    memory: &impl OwnMemory,
    memory_len: u64,
    map: &ClusterMap,
    node: NodeId,
    incarnation: Incarnation,
    plan: &Plan,
) {
    let superblock = Superblock::new(map.cluster_id(), node, incarnation, map.epoch, memory_len, plan);
    let bytes = superblock.as_bytes();
    let (magic, rest) = bytes.split_at(size_of::<u64>());
    memory.store(RemoteAddr(magic.len() as u64), rest);
    let magic = u64::from_le_bytes(magic.try_into().expect("a word was split off"));
    memory.store_word(RemoteAddr(0), magic);
}
