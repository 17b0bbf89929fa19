//! What a lease is to a node: how long it serves on one, and whose promises stand in for one (`docs/protocols/membership.md`).

use farrow_control::map::ClusterMap;
use farrow_layout::NodeId;
use std::time::Duration;

/// Nanoseconds of a lease that a node serves on: the rest is for clocks that run at other rates.
pub fn served(lease: Duration) -> u64 {
    (lease - lease / 16).as_nanos() as u64
}

/// All other live members of the homes of `node`: those whose promises let it serve on without a lease.
pub fn peers_of(map: &ClusterMap, node: NodeId) -> Vec<NodeId> {
    let homes = map.homes.iter().filter(|home| home.has_member(node));
    let mut peers: Vec<NodeId> = homes.flat_map(|home| home.members.iter().map(|m| m.node)).collect();
    peers.sort_unstable();
    peers.dedup();
    peers.retain(|peer| *peer != node);
    peers
}

/// Whether a view of one of its homes is changing, and with it who the peers are.
pub fn has_closed_home(map: &ClusterMap, node: NodeId) -> bool {
    map.homes.iter().any(|home| home.has_member(node) && !home.is_open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_control::map::{CommitKind, Shape};
    use farrow_layout::Policy;

    #[test]
    fn peers_are_those_who_share_a_home() {
        let mut map = ClusterMap::of(&Shape {
            name: "test".into(),
            commit: CommitKind::Colocated,
            policy: Policy::Replicate { copies: 2 },
            nodes: (0..4).map(|i| format!("127.0.0.1:{}", 7400 + i)).collect(),
            homes_per_node: 1,
            max_keys: 1000,
            memory_len: 64 << 20,
            block_len: 256 << 10,
            extent_len: 64 << 10,
        })
        .unwrap();
        assert_eq!(peers_of(&map, NodeId(1)), [NodeId(0), NodeId(2)]);
        map.homes[1].members.truncate(1);
        assert_eq!(peers_of(&map, NodeId(1)), [NodeId(0)], "a member that is gone has nothing to promise");
        assert!(!has_closed_home(&map, NodeId(1)));
        map.homes[1].is_open = false;
        assert!(has_closed_home(&map, NodeId(1)) && !has_closed_home(&map, NodeId(3)));
        map.homes.truncate(2);
        assert!(peers_of(&map, NodeId(3)).is_empty(), "a spare has none");
    }
}
