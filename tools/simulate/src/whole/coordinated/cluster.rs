//! A coordinated cluster in a world: what its machines and client processes share.

use super::life::Life;
use super::machine::Machine;
use super::net::Net;
use super::office::Office;
use super::scenario::Mark;
use farrow_control::map::NodeEntry;
use farrow_fabric_sim::{SimFabric, World};
use farrow_layout::{Incarnation, NodeId};
use std::cell::Cell;
use std::rc::Rc;

/// Machines, the coordinator, and what is between them.
pub(super) struct Cluster {
    pub(super) world: World,
    /// The fabric of everything that waits for time alone.
    pub(super) time: SimFabric,
    pub(super) net: Net,
    pub(super) office: Office,
    pub(super) machines: Vec<Machine>,
    /// Bytes of memory of every node.
    pub(super) memory_len: u64,
    world_nodes: Cell<u16>,
    drawn: Cell<u64>,
    ticks: Cell<u64>,
    marks: [Cell<u64>; Mark::ALL.len()],
    /// The machine whose agent did something last.
    pub(super) agent: Cell<Option<usize>>,
    /// The run has ended: nothing that is dropped from now on begins anything.
    pub(super) is_ended: Cell<bool>,
}

impl Cluster {
    pub(super) fn new(
        world: &World,
        net: Net,
        office: Office,
        machines: Vec<Machine>,
        memory_len: u64,
    ) -> Rc<Cluster> {
        let (world, time) = (world.clone(), world.fabric(0));
        let (world_nodes, drawn) = (Cell::default(), Cell::default());
        let (ticks, marks, is_ended) = (Cell::default(), Default::default(), Cell::default());
        Rc::new(Cluster {
            world,
            time,
            net,
            office,
            machines,
            memory_len,
            world_nodes,
            drawn,
            ticks,
            marks,
            agent: Cell::default(),
            is_ended,
        })
    }

    pub(super) fn lease_ns(&self) -> u64 {
        self.office.settings.lease_ns
    }

    /// A number that nobody had before.
    pub(super) fn fresh(&self) -> u64 {
        self.drawn.set(self.drawn.get() + 1);
        self.drawn.get()
    }

    pub(super) fn fresh_incarnation(&self) -> Incarnation {
        Incarnation(0x5eed_0000 + self.fresh())
    }

    /// Something has happened that faults go by.
    pub(super) fn mark(&self, mark: Mark) {
        let count = &self.marks[mark as usize];
        count.set(count.get() + 1);
    }

    /// How often each of [`Mark::ALL`] has happened.
    pub(super) fn marks(&self) -> [u64; Mark::ALL.len()] {
        Mark::ALL.map(|mark| self.marks[mark as usize].get())
    }

    /// Counts beginnings and ends of operations: what histories take for time.
    pub(super) fn tick(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    /// Memory for a node of the map: nodes are numbered alike in the world and by the coordinator.
    pub(super) fn make_memory(&self, node: NodeId) {
        while self.world_nodes.get() <= node.0 {
            self.world_nodes.set(self.world.node(self.memory_len).0 + 1);
        }
    }

    /// The machine that listens at a node's address.
    pub(super) fn machine_of(&self, entry: &NodeEntry) -> &Machine {
        let machine = self.machines.iter().find(|machine| machine.address == entry.address);
        machine.expect("nodes register with the addresses of machines")
    }

    /// The node in the life that the map means, if that goes on.
    pub(super) fn life_of(&self, entry: &NodeEntry) -> Option<Rc<Life>> {
        self.machine_of(entry).life().filter(|life| life.incarnation == entry.incarnation)
    }

    /// Whether a node of the map is there, in the life that the map knows, and serves by true time.
    pub(super) fn serves(&self, entry: &NodeEntry) -> bool {
        self.life_of(entry).is_some_and(|life| life.is_leased(self))
    }
}
