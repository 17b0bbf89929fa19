//! Orders: whose they are, and when they go to somebody else.

use crate::{Coordinator, Instant, State};
use farrow_control::coordination::{Denial, OrderId, Task};
use farrow_layout::NodeId;
use farrow_mutant::{self as mutant, Mutant};
use std::collections::BTreeSet;

/// Leases after which an agent that has closed homes and does not open them is relieved.
const CLOSING_LEASES: u64 = 64;

impl Coordinator {
    /// An order that closes nothing is done.
    ///
    /// # Errors
    /// [`Denial::NotYours`]; [`Denial::Bad`] for an order that is published.
    pub fn completed(&mut self, agent: NodeId, order: OrderId) -> Result<(), Denial> {
        self.check_agent(agent, order)?;
        let task = self.state.order(order).map(|entry| entry.order.task.clone());
        let Some(Task::RecoverClient { client }) = task else {
            return Err(Denial::Bad(format!("order {order} is published when it is done")));
        };
        let state = self.state_mut();
        state.orders.retain(|entry| entry.order.id != order);
        state.clients.remove(&client);
        self.counts.clients_recovered += 1;
        Ok(())
    }

    pub(crate) fn check_agent(&self, agent: NodeId, order: OrderId) -> Result<(), Denial> {
        let is_own = self.state.order(order).is_some_and(|entry| entry.agent == Some(agent));
        match is_own && self.state.is_staying(agent) || mutant::is(Mutant::ZombiePublishes) {
            true => Ok(()),
            false => Err(Denial::NotYours(order)),
        }
    }

    /// Takes orders from agents that are gone or silent, or that keep homes closed for too long.
    pub(crate) fn take_orders_over(&mut self, now: Instant) {
        let limit = self.settings.lease_ns.saturating_mul(CLOSING_LEASES);
        let is_late = |id: OrderId| self.closed_at.get(&id).is_some_and(|&at| now.since(at) > limit);
        let is_gone = |agent: NodeId| !self.state.is_staying(agent) || self.is_silent(agent, now);
        let entries = self.state.orders.iter().filter(|entry| entry.agent.is_some());
        let taken = entries.filter(|entry| entry.agent.is_some_and(is_gone) || is_late(entry.order.id));
        for id in taken.map(|entry| entry.order.id).collect::<Vec<_>>() {
            self.counts.orders_retaken += 1;
            self.closed_at.remove(&id);
            self.progress.remove(&id);
            let entries = self.state_mut().orders.iter_mut();
            for entry in entries.filter(|entry| entry.order.id == id) {
                entry.agent = None;
                entry.closing = None;
            }
        }
    }

    /// Gives orders that are nobody's to agents, as far as there are nodes that can.
    pub(crate) fn assign_orders(&mut self, now: Instant) {
        let nodes = self.state.map.nodes.iter().map(|n| n.id);
        let able: Vec<NodeId> =
            nodes.filter(|&n| self.state.is_staying(n) && !self.is_silent(n, now)).collect();
        for i in 0..self.state.orders.len() {
            if self.state.orders[i].agent.is_some() {
                continue;
            }
            if let Some(agent) = agent(&self.state, &self.state.orders[i].order.task, &able) {
                let entry = &mut self.state_mut().orders[i];
                entry.agent = Some(agent);
                entry.order.attempt += 1;
            }
        }
    }
}

/// Which of the nodes that can carries a task out: for a restore its target, otherwise one with a replica of what it is about
/// if there is one, and with the least to do.
fn agent(state: &State, task: &Task, able: &[NodeId]) -> Option<NodeId> {
    let concerned: BTreeSet<NodeId> = match task {
        Task::Restore { target, .. } => return able.iter().copied().find(|&n| n == target.node),
        Task::ChangeView { homes, .. } => {
            let homes = homes.iter().filter_map(|id| state.map.homes.get(usize::from(id.0)));
            homes.flat_map(|home| home.members.iter().map(|m| m.node)).collect()
        }
        Task::RecoverClient { .. } => BTreeSet::new(),
    };
    let load = |node: NodeId| state.orders.iter().filter(|entry| entry.agent == Some(node)).count();
    able.iter().copied().min_by_key(|&node| (!concerned.contains(&node), load(node), node))
}
