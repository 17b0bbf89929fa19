//! Nodes: they register, they renew their leases, and somebody may be unable to reach them.

use crate::{Coordinator, Instant};
use farrow_control::coordination::{Decision, Denial, News, Order, ProcessId, Registration, Renewal};
use farrow_control::map::{NodeEntry, Standing};
use farrow_layout::{Epoch, NodeId};
use farrow_mutant::{self as mutant, Mutant};

impl Coordinator {
    /// A node offers memory. Its lease runs from now. Answers with its place in the map.
    ///
    /// # Errors
    /// [`Denial::Deposed`]: that life of its memory was passed over; [`Denial::Bad`]: it offers nothing that can be used.
    pub fn register(&mut self, now: Instant, offer: &Registration) -> Result<NodeId, Denial> {
        let known = self.state.map.nodes.iter().find(|n| n.incarnation == offer.incarnation);
        if let Some(known) = known.map(|n| n.id) {
            if !self.state.is_staying(known) {
                return Err(Denial::Deposed(known));
            }
            self.hear(known, now);
            self.told.remove(&known);
            return Ok(known);
        }
        self.check_offer(offer)?;
        self.bury(&offer.address);
        let id = NodeId(self.state.map.nodes.len() as u16);
        let is_formed = self.state.is_formed();
        let state = self.state_mut();
        state.map.nodes.push(NodeEntry {
            id,
            address: offer.address.clone(),
            incarnation: offer.incarnation,
            domain: offer.domain.clone(),
            standing: Standing::Up,
        });
        state.memory_len.push(offer.memory_len);
        if is_formed {
            state.next_epoch();
        }
        self.hear(id, now);
        self.form(now);
        Ok(id)
    }

    fn check_offer(&self, offer: &Registration) -> Result<(), Denial> {
        if offer.incarnation.0 == 0 || offer.address.is_empty() {
            return Err(Denial::Bad("a node needs an address and an incarnation".into()));
        }
        if self.state.map.nodes.len() >= usize::from(u16::MAX) {
            return Err(Denial::Bad("this cluster has had 65535 nodes: found another one".into()));
        }
        match self.state.map.plan() {
            Ok(plan) if self.state.is_formed() && plan.segments_in(offer.memory_len) == 0 => {
                let least = plan.memory_for(1);
                Err(Denial::Bad(format!(
                    "{} bytes of memory hold no segment: {least} are needed",
                    offer.memory_len
                )))
            }
            _ => Ok(()),
        }
    }

    /// Another life at the same address: the memory of the one before is gone. Its lease runs out all the same, as somebody
    /// may still be working over links that it gave.
    fn bury(&mut self, address: &str) {
        let nodes = self.state.map.nodes.iter().filter(|n| n.is_up() && n.address == address);
        let before: Vec<NodeId> = nodes.map(|n| n.id).filter(|n| !self.state.gone.contains(n)).collect();
        if !before.is_empty() {
            self.state_mut().gone.extend(before);
        }
    }

    /// A node is there: its lease runs from `now`, when its request came in. What there is to tell it is
    /// [`Coordinator::news_for_node`].
    ///
    /// # Errors
    /// [`Denial::Deposed`]: it was passed over, or will be.
    pub fn renew(&mut self, now: Instant, renewal: &Renewal) -> Result<(), Denial> {
        let node = renewal.node;
        let entry = self.state.map.node(node);
        if !entry.is_some_and(|n| n.is_up() && n.incarnation == renewal.incarnation)
            || self.state.gone.contains(&node)
        {
            return Err(Denial::Deposed(node));
        }
        if self.state.deposing.contains(&node) {
            if self.can_be_spared(node, now) {
                // It formats its memory now that it hears of it, so there is no way back.
                self.state_mut().gone.insert(node);
                return Err(Denial::Deposed(node));
            }
            self.state_mut().deposing.remove(&node);
        }
        self.hear(node, now);
        self.note_orphans(now, node, &renewal.orphans);
        for progress in &renewal.progress {
            let entry = self.state.order(progress.order);
            if entry.is_some_and(|entry| entry.agent == Some(node)) {
                self.progress.insert(progress.order, *progress);
            }
        }
        Ok(())
    }

    /// What a node that has the map of `epoch` is to be told of what is stored; nothing yet if there is no news and the answer is
    /// not due. It has been heard already, so the answer takes nothing back and grants nothing.
    ///
    /// # Errors
    /// [`Denial::Deposed`]: it was passed over since it asked.
    pub fn news_for_node(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        is_due: bool,
    ) -> Result<Option<News>, Denial> {
        if !self.stored.map.node(node).is_some_and(|n| n.is_up()) {
            return Err(Denial::Deposed(node));
        }
        let own = self.stored.orders.iter().filter(|entry| entry.agent == Some(node));
        let orders: Vec<Order> = own.map(|entry| entry.order.clone()).collect();
        let names: Vec<_> = orders.iter().map(|order| (order.id, order.attempt)).collect();
        let map = self.map_after(epoch);
        let told = self.told.get(&node);
        if !is_due && map.is_none() && told.map_or(names.is_empty(), |told| *told == names) {
            return Ok(None);
        }
        self.told.insert(node, names);
        Ok(Some(News { map, orders }))
    }

    pub(crate) fn map_after(&self, epoch: Epoch) -> Option<farrow_control::map::ClusterMap> {
        (self.stored.map.epoch > epoch).then(|| self.stored.map.clone())
    }

    /// A process cannot reach a node, and has said so for `for_ns` by now.
    ///
    /// # Errors
    /// [`Denial::ProcessLost`]; [`Denial::Bad`] if there never was such a node.
    pub fn unreachable(
        &mut self,
        now: Instant,
        process: ProcessId,
        node: NodeId,
        for_ns: u64,
    ) -> Result<Decision, Denial> {
        self.check_process(process)?;
        if self.state.map.node(node).is_none() {
            return Err(Denial::Bad(format!("there never was a node {node}")));
        }
        let lease_ns = self.settings.lease_ns;
        self.reports.retain(|_, last| now.since(*last) <= lease_ns);
        self.reports.insert((node, process), now);
        // Not by a lease that was granted: evidence. And not from before it was reached last, for it may have died since.
        let was_heard_since = self.seen.get(&node).is_some_and(|&seen| now.since(seen) < for_ns);
        let reporters =
            self.reports.keys().filter(|(about, by)| *about == node && self.watchers.contains_key(by));
        let decision = decide(
            self.state.is_staying(node) && !self.is_silent(node, now),
            reporters.count(),
            self.watchers.len(),
            self.can_be_spared(node, now),
            was_heard_since,
        );
        if decision == Decision::Deposing && self.state.is_staying(node) && !self.is_silent(node, now) {
            self.state_mut().deposing.insert(node);
        }
        Ok(decision)
    }

    /// An operator knows that a node's memory is gone for good: it is not waited for any more, and passed over when its lease
    /// is over.
    ///
    /// # Errors
    /// [`Denial::Bad`]: there never was such a node, or it is there.
    pub fn forget(&mut self, now: Instant, node: NodeId) -> Result<(), Denial> {
        match self.state.map.node(node) {
            None => Err(Denial::Bad(format!("there never was a node {node}"))),
            Some(entry) if !entry.is_up() => Ok(()),
            Some(_) if !self.is_silent(node, now) => {
                Err(Denial::Bad(format!("{node} is there: stop it first")))
            }
            Some(_) => {
                self.state_mut().gone.insert(node);
                Ok(())
            }
        }
    }

    /// A lease runs from now; one of a predecessor's may be longer.
    fn hear(&mut self, node: NodeId, now: Instant) {
        let heard = self.heard.entry(node).or_insert(now);
        *heard = now.max(*heard);
        if now >= self.believes_from {
            self.seen.insert(node, now);
        }
    }

    /// Whether every home of the node keeps its floor without it.
    fn can_be_spared(&self, node: NodeId, now: Instant) -> bool {
        let floor = usize::from(self.state.map.write_floor);
        // A lease that was granted after a restart says nothing of whether the node is there.
        let stays = |n: NodeId| n != node && self.state.is_staying(n) && self.is_fresh(n, now);
        let mut homes = self.state.map.homes.iter().filter(|home| home.has_member(node));
        homes.all(|home| home.members.iter().filter(|m| stays(m.node)).count() >= floor)
    }

    /// Whether a node's lease is over by this clock.
    pub(crate) fn has_lapsed(&self, node: NodeId, now: Instant) -> bool {
        let parts = if mutant::is(Mutant::LeaseNotAwaited) { 2 } else { 1 };
        self.heard.get(&node).is_none_or(|&heard| now >= heard + self.settings.lease_ns / parts)
    }

    /// Whether a node has not said anything for so long that nothing is left to it.
    pub(crate) fn is_silent(&self, node: NodeId, now: Instant) -> bool {
        self.heard.get(&node).is_none_or(|&heard| now >= heard + self.settings.silent_ns())
    }

    /// Whether a node was heard so recently that this coordinator must be in touch with the cluster.
    pub(crate) fn is_fresh(&self, node: NodeId, now: Instant) -> bool {
        self.seen.get(&node).is_some_and(|&seen| now < seen + self.settings.fresh_ns())
    }
}

/// What becomes of a node that `reporters` of `processes` processes cannot reach. A node that has just died has a lease still:
/// that it is the way there which is broken is known only when the node was heard of since.
pub(crate) fn decide(
    has_lease: bool,
    reporters: usize,
    processes: usize,
    can_be_spared: bool,
    was_heard_since: bool,
) -> Decision {
    match has_lease {
        false => Decision::Deposing,
        true if reporters * 2 > processes && can_be_spared => Decision::Deposing,
        true if was_heard_since => Decision::YourWay,
        true => Decision::Undecided,
    }
}
