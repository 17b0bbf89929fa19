//! What a lease is to a node: how long it serves on one, and whose promises stand in for one (`docs/protocols/membership.md`).

use farrow_control::map::ClusterMap;
use farrow_layout::{Epoch, HomeId, NodeId};
use farrow_mutant::{self as mutant, Mutant};
use std::time::Duration;

/// Nanoseconds of a lease that a node serves on: the rest is for clocks that run at other rates.
pub fn served(lease: Duration) -> u64 {
    let served = if mutant::is(Mutant::ServesAfterLease) { lease * 5 / 4 } else { lease - lease / 16 };
    served.as_nanos() as u64
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

/// Whether a view is changing, and with it who the peers are: one of its homes is closed, or one that it has a segment set aside for.
///
/// The view that opens may name the node as a new member. Whoever is told of it counts on this node's promises and leases at once,
/// while it hears of it only later: the peers that it would ask meanwhile are not those who can pass it over.
pub fn has_closed_home(map: &ClusterMap, node: NodeId, is_set_aside: impl Fn(HomeId) -> bool) -> bool {
    let is_set_aside = |home| is_set_aside(home) && !mutant::is(Mutant::JoiningUnasked);
    map.homes.iter().any(|home| !home.is_open && (home.has_member(node) || is_set_aside(home.id)))
}

/// The epoch to name when a lease is renewed. With that of the map that is `known` the answer is held back until there is news;
/// without one it comes at once. Waiting is for nodes that have time: one that serves nothing until it is answered, or would
/// not by then, does not wait.
pub fn renewal_epoch(known: Epoch, left_ns: u64, lease: Duration) -> Epoch {
    if left_ns < lease.as_nanos() as u64 / 2 { Epoch(0) } else { known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_control::map::{CommitKind, Shape};
    use farrow_layout::Policy;

    fn map() -> ClusterMap {
        ClusterMap::of(&Shape {
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
        .unwrap()
    }

    #[test]
    fn peers_are_those_who_share_a_home() {
        let mut map = map();
        assert_eq!(peers_of(&map, NodeId(1)), [NodeId(0), NodeId(2)]);
        map.homes[1].members.truncate(1);
        assert_eq!(peers_of(&map, NodeId(1)), [NodeId(0)], "a member that is gone has nothing to promise");
        let nothing = |_| false;
        assert!(!has_closed_home(&map, NodeId(1), nothing));
        map.homes[1].is_open = false;
        assert!(has_closed_home(&map, NodeId(1), nothing) && !has_closed_home(&map, NodeId(3), nothing));
        map.homes.truncate(2);
        assert!(peers_of(&map, NodeId(3)).is_empty(), "a spare has none");
    }

    /// A spare was restored onto, the view that names it was published, and before it heard of that the coordinator was out of its
    /// reach. It had no peers in the map that it knew, so it served on, for ever, by the promises of nobody.
    #[test]
    fn who_may_be_a_member_by_now_does_not_serve_by_the_promises_of_its_former_peers() {
        let mut map = map();
        map.homes.truncate(2);
        let home = map.homes[1].id;
        let is_set_aside = |of| of == home;
        assert!(
            !has_closed_home(&map, NodeId(3), is_set_aside),
            "no view of it can open without a fence here"
        );
        map.homes[1].is_open = false;
        assert!(has_closed_home(&map, NodeId(3), is_set_aside), "the view that opens may name it");
        assert!(!has_closed_home(&map, NodeId(3), |_| false), "it is nothing to it");
    }

    #[test]
    fn who_has_no_time_to_wait_for_news_asks_for_none() {
        let lease = Duration::from_millis(100);
        let renewed = served(lease) - lease.as_nanos() as u64 / 4;
        assert_eq!(renewal_epoch(Epoch(7), renewed, lease), Epoch(7), "all is well");
        assert_eq!(renewal_epoch(Epoch(7), renewed / 4, lease), Epoch(0), "an answer was lost");
        assert_eq!(renewal_epoch(Epoch(7), 0, lease), Epoch(0), "it serves nothing until it is answered");
    }
}
