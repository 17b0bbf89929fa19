//! Which homes get another member, and where.

use crate::{Coordinator, Instant, State};
use farrow_control::coordination::{OrderId, Task};
use farrow_control::map::{HomeEntry, MemberEntry};
use farrow_layout::{HomeId, NodeId};
use std::collections::BTreeSet;

impl Coordinator {
    /// Drops orders whose targets are not usable any more, or whose homes have nobody left to copy from.
    pub(crate) fn drop_restores(&mut self, now: Instant) {
        let is_dropped = |task: &Task| match task {
            Task::Restore { home, target, .. } => {
                !self.state.is_staying(target.node)
                    || self.has_lapsed(target.node, now)
                    || self.state.map.homes[usize::from(home.0)].members.is_empty()
            }
            _ => false,
        };
        let dropped: Vec<OrderId> =
            self.state.orders.iter().filter(|e| is_dropped(&e.order.task)).map(|e| e.order.id).collect();
        if !dropped.is_empty() {
            self.state_mut().orders.retain(|entry| !dropped.contains(&entry.order.id));
        }
    }

    /// Orders for all open homes that miss copies, one for each at a time.
    pub(crate) fn plan_restores(&mut self, now: Instant) {
        for home in self.exposed() {
            let is_able = |node: NodeId| self.state.is_staying(node) && !self.is_silent(node, now);
            if let Ok(target) = target(&self.state, &self.state.map.homes[usize::from(home.0)], is_able) {
                let bytes_per_s = self.settings.restore_bytes_per_s;
                self.state_mut().add_order(Task::Restore { home, target, bytes_per_s });
            }
        }
    }

    /// Open homes that miss copies and have no order, the most exposed ones first.
    fn exposed(&self) -> Vec<HomeId> {
        let map = &self.state.map;
        let is_up = |home: &HomeEntry| home.members.iter().all(|m| map.nodes[usize::from(m.node.0)].is_up());
        let homes = map.homes.iter().filter(|home| home.is_open && map.missing(home) > 0 && is_up(home));
        let mut homes: Vec<_> = homes.filter(|home| !self.is_restored(home.id)).collect();
        homes.sort_by_key(|home| (home.members.len(), home.id));
        homes.into_iter().map(|home| home.id).collect()
    }

    fn is_restored(&self, id: HomeId) -> bool {
        let mut tasks = self.state.orders.iter().map(|entry| &entry.order.task);
        tasks.any(|task| matches!(task, Task::Restore { home, .. } if *home == id))
    }

    /// Homes that miss copies and cannot get any, and why.
    pub(crate) fn stuck(&self, now: Instant) -> Vec<(HomeId, String)> {
        let is_able = |node: NodeId| self.state.is_staying(node) && !self.is_silent(node, now);
        let why = |id: HomeId| target(&self.state, &self.state.map.homes[usize::from(id.0)], is_able).err();
        self.exposed().into_iter().filter_map(|id| Some((id, why(id)?))).collect()
    }
}

/// Where the next member of a home goes: to a node outside of the domains of the others where there is one, and to the one
/// with the fewest segments in use. Otherwise says why nowhere.
fn target(state: &State, home: &HomeEntry, is_able: impl Fn(NodeId) -> bool) -> Result<MemberEntry, String> {
    let nodes = &state.map.nodes;
    let others: Vec<_> = nodes.iter().filter(|n| is_able(n.id) && !home.has_member(n.id)).collect();
    if others.is_empty() {
        return Err("every node that is up holds a copy already: start another node".into());
    }
    let domains: BTreeSet<&str> =
        home.members.iter().map(|m| nodes[usize::from(m.node.0)].domain.as_str()).collect();
    let free = others.iter().filter_map(|node| {
        let used = state.used_segments(node.id);
        let segment = (0..state.capacity(node.id)).find(|segment| !used.contains(segment))?;
        let rank = (domains.contains(node.domain.as_str()), used.len(), node.id);
        Some((rank, MemberEntry { node: node.id, segment }))
    });
    let best = free.min_by_key(|(rank, _)| *rank);
    best.map(|(_, target)| target).ok_or_else(|| {
        let full = others.len();
        format!("no segment is free on the {full} other nodes that are up: start another node")
    })
}
