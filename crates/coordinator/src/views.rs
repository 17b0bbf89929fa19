//! Homes are closed, and opened with other members.

use crate::{Coordinator, Instant};
use farrow_control::coordination::{Denial, OrderId, Task};
use farrow_control::map::{ClusterMap, HomeEntry};
use farrow_layout::{Epoch, HomeId, NodeId};
use farrow_mutant::{self as mutant, Mutant};
use std::collections::BTreeSet;

impl Coordinator {
    /// Closes the homes of an agent's orders under a new epoch, for it to fence their members to; lost members are out. An
    /// agent may close again what it has closed.
    ///
    /// # Errors
    /// [`Denial::NotYours`]; [`Denial::Busy`]: others have homes closed; [`Denial::Bad`]: orders that close nothing, or not
    /// together.
    pub fn close(
        &mut self,
        now: Instant,
        agent: NodeId,
        orders: &[OrderId],
    ) -> Result<(Epoch, ClusterMap), Denial> {
        let homes = self.homes_to_close(agent, orders)?;
        let state = self.state_mut();
        let epoch = state.next_epoch();
        let ClusterMap { nodes, homes: all, .. } = &mut state.map;
        for id in homes {
            let home = &mut all[usize::from(id.0)];
            home.members.retain(|m| nodes[usize::from(m.node.0)].is_up());
            home.is_open = false;
            home.epoch = epoch;
        }
        for entry in state.orders.iter_mut().filter(|entry| orders.contains(&entry.order.id)) {
            entry.closing = Some(epoch);
        }
        for &order in orders {
            self.closed_at.insert(order, now);
        }
        Ok((epoch, self.state.map.clone()))
    }

    fn homes_to_close(&self, agent: NodeId, orders: &[OrderId]) -> Result<Vec<HomeId>, Denial> {
        let mut closed = Vec::new();
        for &id in orders {
            self.check_agent(agent, id)?;
            let entry = self.state.order(id).ok_or(Denial::NotYours(id))?;
            match &entry.order.task {
                Task::ChangeView { homes, .. } if orders.len() == 1 => closed.extend(homes),
                Task::Restore { home, .. } => {
                    let is_closed = !self.state.map.homes[usize::from(home.0)].is_open;
                    if is_closed && entry.closing.is_none() || self.is_closing(orders) {
                        return Err(Denial::Busy);
                    }
                    closed.push(*home);
                }
                _ => {
                    return Err(Denial::Bad(format!(
                        "order {id} is not closed, or not together with others"
                    )));
                }
            }
        }
        match closed.is_empty() {
            true => Err(Denial::Bad("no orders to close homes for".into())),
            false => Ok(closed),
        }
    }

    /// Whether anybody but `orders` has homes closed or is about to: two agents would fence each other.
    fn is_closing(&self, orders: &[OrderId]) -> bool {
        let others = self.state.orders.iter().filter(|entry| !orders.contains(&entry.order.id));
        others.into_iter().any(|entry| entry.is_change_of_view() || entry.closing.is_some())
    }

    /// Opens the homes of orders that were closed in `epoch`: they are alike on all members. The orders are done.
    ///
    /// # Errors
    /// [`Denial::NotYours`]: another one's by now, closed in another epoch, or one of the members was lost meanwhile.
    pub fn publish(&mut self, agent: NodeId, orders: &[OrderId], epoch: Epoch) -> Result<(), Denial> {
        if orders.is_empty() {
            return Err(Denial::Bad("no orders to publish".into()));
        }
        for &id in orders {
            self.check_agent(agent, id)?;
            let entry = self.state.order(id).ok_or(Denial::NotYours(id))?;
            let is_closed = entry.closing == Some(epoch) || mutant::is(Mutant::ZombiePublishes);
            if !is_closed || !self.may_open(&entry.order.task) {
                return Err(Denial::NotYours(id));
            }
        }
        let state = self.state_mut();
        state.next_epoch();
        let (done, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.orders).into_iter().partition(|entry| orders.contains(&entry.order.id));
        state.orders = left;
        for entry in done {
            match entry.order.task {
                Task::ChangeView { homes, .. } => {
                    for id in homes {
                        self.open(id, |_| {});
                    }
                    self.counts.views_changed += 1;
                }
                Task::Restore { home, target, .. } => {
                    self.open(home, |home| home.members.push(target));
                    self.counts.members_restored += 1;
                    self.counts.views_changed += 1;
                }
                Task::RecoverClient { .. } => unreachable!("it is never closed"),
            }
        }
        Ok(())
    }

    fn open(&mut self, id: HomeId, change: impl FnOnce(&mut HomeEntry)) {
        let copies = self.settings.sizes.policy.copies();
        let home = &mut self.state_mut().map.homes[usize::from(id.0)];
        change(home);
        home.is_open = true;
        let members: BTreeSet<_> = home.members.iter().map(|m| m.node).collect();
        assert_eq!(members.len(), home.members.len(), "a node is a member once");
        assert!((1..=copies).contains(&members.len()), "a view has members, and no more than copies");
    }

    /// Whether all who would be members are there.
    fn may_open(&self, task: &Task) -> bool {
        let is_up = |node: NodeId| self.state.map.node(node).is_some_and(|n| n.is_up());
        let home = |id: &HomeId| &self.state.map.homes[usize::from(id.0)];
        let is_whole = |id: &HomeId| home(id).members.iter().all(|m| is_up(m.node));
        match task {
            Task::ChangeView { homes, .. } => homes.iter().all(is_whole),
            Task::Restore { home, target, .. } => is_whole(home) && is_up(target.node),
            Task::RecoverClient { .. } => false,
        }
    }

    /// One order for all homes that go on without a member, or that somebody has left closed. A loss while one is outstanding
    /// makes another one of it.
    pub(crate) fn plan_change_of_view(&mut self, now: Instant) {
        if self.homes_to_change(now).is_empty() {
            return self.drop_change_of_view();
        }
        self.give_freezes_up();
        let homes = self.homes_to_change(now);
        let lost = self.lost_members(&homes);
        let before = self.state.orders.iter().find_map(|entry| match &entry.order.task {
            Task::ChangeView { homes, deposed } => Some((homes, deposed)),
            _ => None,
        });
        let mut deposed = lost.clone();
        if let Some((covered, named)) = before {
            if *covered == homes && lost.iter().all(|node| named.contains(node)) {
                return;
            }
            // The fence of the order before may not have ended, so whoever it was to end for is named again.
            deposed.extend(named);
        }
        self.drop_change_of_view();
        self.state_mut().add_order(Task::ChangeView { homes, deposed: deposed.into_iter().collect() });
    }

    fn drop_change_of_view(&mut self) {
        if self.state.orders.iter().any(|entry| entry.is_change_of_view()) {
            self.state_mut().orders.retain(|entry| !entry.is_change_of_view());
        }
    }

    /// A freeze that a change of view meets is given up: its home is part of the change, its order starts over.
    fn give_freezes_up(&mut self) {
        if self.state.orders.iter().any(|entry| entry.is_restore() && entry.closing.is_some()) {
            let orders = self.state_mut().orders.iter_mut();
            for entry in orders.filter(|entry| entry.is_restore() && entry.closing.is_some()) {
                entry.closing = None;
                entry.order.attempt += 1;
            }
        }
    }

    /// Homes that have lost members, or are closed and not frozen for a restore; but not those that wait for a node which is
    /// silent and may hold the last copy of something: an agent would wait for it, and all other homes with it.
    fn homes_to_change(&self, now: Instant) -> Vec<HomeId> {
        let frozen = self.state.orders.iter().filter(|entry| entry.closing.is_some());
        let frozen: Vec<HomeId> = frozen
            .filter_map(|entry| match entry.order.task {
                Task::Restore { home, .. } => Some(home),
                _ => None,
            })
            .collect();
        let is_up = |node: NodeId| self.state.map.node(node).is_some_and(|n| n.is_up());
        let homes = self.state.map.homes.iter().filter(|home| {
            let mut up = home.members.iter().map(|m| m.node).filter(|&n| is_up(n)).peekable();
            let is_asked_for =
                home.members.iter().any(|m| !is_up(m.node)) || !home.is_open && !frozen.contains(&home.id);
            is_asked_for && up.peek().is_some() && up.all(|n| !self.has_lapsed(n, now))
        });
        homes.map(|home| home.id).collect()
    }

    fn lost_members(&self, homes: &[HomeId]) -> BTreeSet<NodeId> {
        let homes = homes.iter().map(|id| &self.state.map.homes[usize::from(id.0)]);
        let members = homes.flat_map(|home| home.members.iter().map(|m| m.node));
        members.filter(|&n| !self.state.map.node(n).is_some_and(|n| n.is_up())).collect()
    }
}
