//! What outlives a coordinator.

use crate::Settings;
use farrow_control::coordination::{Denial, Order, OrderId, ProcessId, Task};
use farrow_control::map::ClusterMap;
use farrow_layout::{ClientId, Epoch, Geometry, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What outlives a coordinator. It is stored as a whole before anybody is told what depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The map; without homes until the cluster forms.
    pub map: ClusterMap,
    /// Bytes of memory of each node of the map.
    pub memory_len: Vec<u64>,
    /// Nodes whose leases are not renewed any more, because most clients cannot reach them.
    pub deposing: BTreeSet<NodeId>,
    /// Nodes whose memory is gone for certain, though their leases may still run.
    pub gone: BTreeSet<NodeId>,
    /// The next client's id.
    pub next_client: u32,
    /// The next order's id.
    pub next_order: u64,
    /// Clients that have not left or were not cleaned up behind yet.
    pub clients: BTreeMap<ClientId, ProcessId>,
    /// Processes that were taken for lost, the latest ones.
    pub lost_processes: VecDeque<ProcessId>,
    /// Orders that are not done.
    pub orders: Vec<OrderEntry>,
    /// The longest lease that may be running, in nanoseconds.
    pub longest_lease_ns: u64,
}

/// An order and who is at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEntry {
    /// What is to be done.
    pub order: Order,
    /// Who does it; nobody while no node can.
    pub agent: Option<NodeId>,
    /// The epoch in which the agent has closed homes for it and has not opened them yet.
    pub closing: Option<Epoch>,
}

impl OrderEntry {
    pub(crate) fn is_change_of_view(&self) -> bool {
        matches!(self.order.task, Task::ChangeView { .. })
    }

    pub(crate) fn is_restore(&self) -> bool {
        matches!(self.order.task, Task::Restore { .. })
    }
}

impl State {
    /// Of a cluster that has no nodes yet.
    pub(crate) fn founded(settings: &Settings) -> State {
        // Sizes are chosen when the cluster forms; until then the map has no homes to use them for.
        let geometry = Geometry {
            policy: settings.sizes.policy,
            segment_len: 0,
            partitions: 1,
            groups: 2,
            block_len: settings.sizes.block_len,
            extent_len: settings.sizes.extent_len,
        };
        let map = ClusterMap {
            name: settings.name.clone(),
            epoch: Epoch(0),
            commit: settings.commit,
            geometry,
            nodes: Vec::new(),
            homes: Vec::new(),
            coordinators: settings.coordinators.clone(),
            write_floor: settings.floor(),
        };
        State {
            map,
            memory_len: Vec::new(),
            deposing: BTreeSet::new(),
            gone: BTreeSet::new(),
            next_client: 1,
            next_order: 1,
            clients: BTreeMap::new(),
            lost_processes: VecDeque::new(),
            orders: Vec::new(),
            longest_lease_ns: settings.lease_ns,
        }
    }

    /// Whether homes were placed.
    pub fn is_formed(&self) -> bool {
        !self.map.homes.is_empty()
    }

    /// Segments that a node has room for; none before the cluster forms.
    pub fn capacity(&self, node: NodeId) -> u32 {
        let memory_len = self.memory_len.get(usize::from(node.0));
        match (self.map.plan(), memory_len) {
            (Ok(plan), Some(&len)) => plan.segments_in(len),
            _ => 0,
        }
    }

    /// Segments of a node that hold a replica or are set aside for one.
    pub fn used_segments(&self, node: NodeId) -> BTreeSet<u32> {
        let members = self.map.homes.iter().flat_map(|home| &home.members);
        let targets = self.orders.iter().filter_map(|entry| match &entry.order.task {
            Task::Restore { target, .. } => Some(target),
            _ => None,
        });
        members.chain(targets).filter(|m| m.node == node).map(|m| m.segment).collect()
    }

    /// A process that was lost needs another name.
    ///
    /// # Errors
    /// [`Denial::ProcessLost`].
    pub(crate) fn check_process(&self, process: ProcessId) -> Result<(), Denial> {
        match self.lost_processes.contains(&process) {
            true => Err(Denial::ProcessLost(process)),
            false => Ok(()),
        }
    }

    /// Whether a lease of the node is renewed.
    pub(crate) fn is_staying(&self, node: NodeId) -> bool {
        self.map.node(node).is_some_and(|entry| entry.is_up())
            && !self.deposing.contains(&node)
            && !self.gone.contains(&node)
    }

    pub(crate) fn order(&self, id: OrderId) -> Option<&OrderEntry> {
        self.orders.iter().find(|entry| entry.order.id == id)
    }

    pub(crate) fn add_order(&mut self, task: Task) -> OrderId {
        let id = OrderId(self.next_order);
        self.next_order += 1;
        self.orders.push(OrderEntry { order: Order { id, attempt: 0, task }, agent: None, closing: None });
        id
    }

    /// The map becomes another one.
    pub(crate) fn next_epoch(&mut self) -> Epoch {
        self.map.epoch.0 += 1;
        self.map.epoch
    }
}
