//! Which nodes are passed over.

use crate::{Coordinator, Instant};
use farrow_control::map::{ClusterMap, Standing};
use farrow_layout::NodeId;
use std::collections::BTreeSet;

impl Coordinator {
    /// Passes nodes over whose leases are over.
    pub(crate) fn lose_nodes(&mut self, now: Instant) {
        let up: Vec<NodeId> = self.state.map.nodes.iter().filter(|n| n.is_up()).map(|n| n.id).collect();
        let fresh: BTreeSet<NodeId> = up.iter().copied().filter(|&n| self.is_fresh(n, now)).collect();
        if fresh.is_empty() {
            self.is_isolated = !up.is_empty();
        } else if self.is_isolated {
            // Nobody was heard for a while, so it was this coordinator that was cut off. The others come back in a moment.
            self.is_isolated = false;
            self.grant_all(now);
        }
        let lapsed: BTreeSet<NodeId> = up.into_iter().filter(|&n| self.has_lapsed(n, now)).collect();
        let lost = losses(&self.state.map, &lapsed, &fresh, &self.state.gone);
        if lost.is_empty() {
            return;
        }
        let is_formed = self.state.is_formed();
        let state = self.state_mut();
        let epoch = match is_formed {
            true => state.next_epoch(),
            false => state.map.epoch,
        };
        for &node in &lost {
            state.map.nodes[usize::from(node.0)].standing = Standing::Lost;
            state.deposing.remove(&node);
            state.gone.remove(&node);
        }
        let ClusterMap { nodes, homes, .. } = &mut state.map;
        let is_up = |n: NodeId| nodes[usize::from(n.0)].is_up();
        for home in homes.iter_mut().filter(|home| !home.members.iter().any(|m| is_up(m.node))) {
            // Nobody is left to fence, and nobody to ask.
            home.members.clear();
            home.is_open = false;
            home.epoch = epoch;
        }
        for node in lost {
            self.heard.remove(&node);
            self.counts.nodes_lost += 1;
        }
    }
}

/// Which of the nodes whose leases are over are passed over.
///
/// Not one whose memory may still be there while one of its homes would be left with nobody who is in touch: it may hold the
/// last copy, or it may be the coordinator that is cut off. Passing it over would delete what it holds and bring nobody
/// anything. It is waited for, until it comes back or another life begins in its place.
pub(crate) fn losses(
    map: &ClusterMap,
    lapsed: &BTreeSet<NodeId>,
    fresh: &BTreeSet<NodeId>,
    gone: &BTreeSet<NodeId>,
) -> Vec<NodeId> {
    let is_fresh = |n: NodeId| fresh.contains(&n) && !lapsed.contains(&n) && !gone.contains(&n);
    let is_lost = |node: NodeId| {
        let mut homes = map.homes.iter().filter(|home| home.has_member(node));
        gone.contains(&node)
            || !fresh.is_empty() && homes.all(|home| home.members.iter().any(|m| is_fresh(m.node)))
    };
    lapsed.iter().copied().filter(|&n| is_lost(n)).collect()
}
