//! What coordinators decide, as stories.

mod any_sequence;
mod clients;
mod formation;
mod losses;
mod orphans;
mod restarts;
mod restores;
mod views;

use crate::{Coordinator, Instant, Settings};
use farrow_control::coordination::{Order, ProcessId, Progress, Registration, Renewal, Task};
use farrow_control::map::{CommitKind, HomeEntry, Sizes, Standing};
use farrow_layout::{ClientId, Epoch, HomeId, Incarnation, NodeId, Policy};
use std::collections::BTreeMap;

/// A millisecond.
const MS: u64 = 1_000_000;
/// A lease.
const LEASE: u64 = 1000 * MS;

fn settings(nodes: u16, copies: u8) -> Settings {
    Settings {
        name: "test".into(),
        commit: CommitKind::Colocated,
        sizes: Sizes {
            policy: Policy::Replicate { copies },
            max_keys: 1000,
            block_len: 64 << 10,
            extent_len: 16 << 10,
        },
        homes_per_node: 1,
        nodes_to_form: nodes,
        headroom_nodes: 1,
        write_floor: 0,
        lease_ns: LEASE,
        restore_bytes_per_s: 1 << 30,
        coordinators: vec!["127.0.0.1:7300".into()],
    }
}

/// A coordinator, and nodes that renew their leases as long as they are not stopped.
struct World {
    it: Coordinator,
    now: Instant,
    /// Incarnations of the nodes that are there, by their ids.
    there: Vec<(NodeId, Incarnation)>,
    /// Owners without a session, as nodes name them.
    orphans: BTreeMap<NodeId, Vec<ClientId>>,
}

impl World {
    /// A cluster of `nodes` nodes on hosts of their own.
    fn formed(nodes: u16, copies: u8) -> World {
        let mut world = World::new(settings(nodes, copies));
        for i in 0..nodes {
            world.start(&format!("host-{i}:7400"));
        }
        assert!(world.it.state().is_formed());
        world
    }

    fn new(settings: Settings) -> World {
        World {
            it: Coordinator::new(settings, Instant(0)),
            now: Instant(0),
            there: Vec::new(),
            orphans: BTreeMap::new(),
        }
    }

    /// A node starts with memory that holds nothing.
    fn start(&mut self, address: &str) -> NodeId {
        let host = address.split(':').next().unwrap();
        self.start_in(address, host)
    }

    fn start_in(&mut self, address: &str, domain: &str) -> NodeId {
        let incarnation = Incarnation(1000 + self.it.state().map.nodes.len() as u64);
        let node = self.it.register(self.now, &offer(address, domain, incarnation)).unwrap();
        self.there.push((node, incarnation));
        node
    }

    /// A node says nothing any more.
    fn stop(&mut self, node: u16) -> Incarnation {
        let at = self.there.iter().position(|(n, _)| n.0 == node).unwrap();
        self.there.remove(at).1
    }

    /// Time passes, while all that are there renew their leases every quarter of one.
    fn pass(&mut self, ns: u64) {
        let end = self.now + ns;
        while self.now < end {
            self.now = (self.now + LEASE / 8).min(end);
            for (node, incarnation) in self.there.clone() {
                if self.renew(node, incarnation).is_err() {
                    // It was passed over: it begins another life.
                    self.there.retain(|(n, _)| *n != node);
                    let entry = self.it.state().map.nodes[usize::from(node.0)].clone();
                    self.start_in(&entry.address, &entry.domain);
                }
            }
            self.it.tick(self.now);
        }
    }

    fn renew(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<(), farrow_control::coordination::Denial> {
        let orphans = self.orphans.get(&node).cloned().unwrap_or_default();
        self.it.renew(self.now, &Renewal { orphans, ..renewal(node, incarnation, Vec::new()) })
    }

    /// Until whoever stopped is passed over.
    fn pass_until_lost(&mut self) {
        self.pass(LEASE + LEASE / 8);
    }

    /// A node stops, and is passed over.
    fn lose(&mut self, node: u16) {
        self.stop(node);
        self.pass_until_lost();
    }

    fn store(&mut self) {
        self.it.stored(self.it.version(), self.it.state().clone());
    }

    fn tick(&mut self) {
        self.it.tick(self.now);
    }

    /// The order to change views, and its agent.
    fn change(&self) -> Option<(NodeId, Order)> {
        self.order(|task| matches!(task, Task::ChangeView { .. }))
    }

    fn restores(&self) -> Vec<(NodeId, Order)> {
        let orders = self.it.state().orders.iter().filter(|entry| entry.is_restore());
        orders.map(|entry| (entry.agent.unwrap(), entry.order.clone())).collect()
    }

    fn order(&self, is_it: impl Fn(&Task) -> bool) -> Option<(NodeId, Order)> {
        let entry = self.it.state().orders.iter().find(|entry| is_it(&entry.order.task))?;
        Some((entry.agent?, entry.order.clone()))
    }

    /// The agent of the change of view does its work.
    fn change_views(&mut self) {
        let (agent, order) = self.change().expect("there is a change of view to make");
        let (epoch, _) = self.it.close(self.now, agent, &[order.id]).unwrap();
        self.it.publish(agent, &[order.id], epoch).unwrap();
        self.tick();
    }

    /// All restores that are ordered are carried out.
    fn restore_all(&mut self) {
        while let Some((agent, order)) = self.restores().first().cloned() {
            let (epoch, _) = self.it.close(self.now, agent, &[order.id]).unwrap();
            self.it.publish(agent, &[order.id], epoch).unwrap();
            self.tick();
        }
    }

    fn epoch(&self) -> Epoch {
        self.it.state().map.epoch
    }

    fn home(&self, id: u16) -> &HomeEntry {
        &self.it.state().map.homes[usize::from(id)]
    }

    fn members(&self, id: u16) -> Vec<u16> {
        self.home(id).members.iter().map(|m| m.node.0).collect()
    }

    fn is_lost(&self, node: u16) -> bool {
        self.it.state().map.nodes[usize::from(node)].standing == Standing::Lost
    }

    /// The coordinator dies, and another one goes on with what is stored.
    fn restart(&mut self) {
        let stored = postcard::to_allocvec(self.it.state()).unwrap();
        let state = postcard::from_bytes(&stored).unwrap();
        self.it = Coordinator::resume(state, self.it.settings().clone(), self.now);
    }
}

fn offer(address: &str, domain: &str, incarnation: Incarnation) -> Registration {
    Registration { incarnation, address: address.into(), domain: domain.into(), memory_len: 64 << 20 }
}

fn renewal(node: NodeId, incarnation: Incarnation, progress: Vec<Progress>) -> Renewal {
    Renewal { node, incarnation, epoch: Epoch(0), progress, orphans: Vec::new() }
}

const P: ProcessId = ProcessId(77);
const Q: ProcessId = ProcessId(78);

fn change_of(order: &Order) -> (Vec<u16>, Vec<u16>) {
    match &order.task {
        Task::ChangeView { homes, deposed } => {
            (homes.iter().map(|h: &HomeId| h.0).collect(), deposed.iter().map(|n| n.0).collect())
        }
        other => panic!("{other:?} changes no view"),
    }
}

/// The state of a cluster of three, with a client and an order.
pub(crate) fn formed_state() -> crate::State {
    let mut world = World::formed(3, 2);
    world.it.new_client(world.now, P).unwrap();
    world.pass(LEASE);
    world.lose(1);
    assert!(!world.it.state().orders.is_empty());
    world.it.state().clone()
}
