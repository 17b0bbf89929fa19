//! A cluster in a world: what all its nodes and clients share.

use super::node::{Control, Node, SimMemory};
use super::reach::Reach;
use super::shadow::Shadow;
use super::space::{Desks, SimSpace};
use farrow_client::{Core, Options};
use farrow_control::map::ClusterMap;
use farrow_fabric_sim::{SimFabric, SimLink, World};
use farrow_layout::{ClientId, Incarnation, NodeId, Plan};
use farrow_node::{Ledger, format};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Clients that a node lets join: more than any scenario has.
const MAX_CLIENTS: u32 = 32;

/// The world, and what all clients and nodes of a run share. Clones are the same.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) world: World,
    pub(super) map: Arc<ClusterMap>,
    pub(super) plan: Plan,
    pub(super) nodes: Rc<Vec<Node>>,
    pub(super) control: Control,
    /// The fabric of everything that waits for time alone: daemons, and clients' control tasks.
    pub(super) daemons: SimFabric,
    pub(super) shadow: Shadow,
    pub(super) reach: Reach,
    /// Ticks once for each beginning and end of an operation: what histories count as time.
    clock: Rc<Cell<u64>>,
    sessions: Rc<Cell<u64>>,
    clients: Rc<Cell<u32>>,
    links: Rc<RefCell<BTreeMap<(ClientId, NodeId), usize>>>,
}

/// A client's place in the cluster.
pub(super) struct Seat {
    pub(super) id: ClientId,
    pub(super) fabric: SimFabric,
    pub(super) desks: Desks,
    pub(super) core: Core<SimFabric, SimSpace>,
}

impl Cluster {
    /// Makes the nodes of `map` and formats their memory.
    pub(super) fn new(world: &World, map: ClusterMap, control: Control) -> Cluster {
        let plan = map.plan().expect("scenarios have maps that can be laid out");
        let nodes = map.nodes.iter().map(|entry| {
            let segments = map.homes.iter().flat_map(|h| &h.members).filter(|m| m.node == entry.id).count();
            let memory_len = plan.memory_for(segments as u32);
            let id = world.node(memory_len);
            assert_eq!(id, entry.id, "nodes are numbered alike in the world and in the map");
            let memory = SimMemory::new(world.clone(), id);
            format(&memory, memory_len, &map, id, incarnation(id));
            Node { id, ledger: Ledger::new(&map, id, MAX_CLIENTS, &memory) }
        });
        let nodes = Rc::new(nodes.collect());
        let shadow = Shadow::attach(world, &map);
        let (world, daemons) = (world.clone(), world.fabric(0));
        Cluster {
            world,
            plan,
            nodes,
            control,
            daemons,
            shadow,
            map: Arc::new(map),
            reach: Reach::default(),
            clock: Rc::default(),
            sessions: Rc::default(),
            clients: Rc::default(),
            links: Rc::default(),
        }
    }

    pub(super) fn node(&self, node: NodeId) -> &Node {
        &self.nodes[usize::from(node.0)]
    }

    /// A new client with links to all nodes.
    pub(super) fn seat(&self, options: &Options) -> Seat {
        self.clients.set(self.clients.get() + 1);
        let id = ClientId(100 + self.clients.get());
        let fabric = self.world.fabric(options.buffer_limit);
        self.shadow.introduce(fabric.client(), id);
        let desks = Desks::join(self, id, &fabric);
        let links: Vec<_> = self.nodes.iter().map(|node| fabric.link(node.id)).collect();
        for (node, link) in self.nodes.iter().zip(&links) {
            self.links.borrow_mut().insert((id, node.id), link.number());
        }
        let made = links.into_iter().map(|link| (link, self.map.epoch)).collect();
        let core = Core::new(fabric.clone(), SimSpace(desks.clone()), self.plan, made, options.clone());
        Seat { id, fabric, desks, core }
    }

    /// A node gives a client another link, and breaks the one before.
    pub(super) fn relink(&self, client: ClientId, node: NodeId, fabric: &SimFabric) -> SimLink {
        self.world.revoke_link(self.link(client, node));
        let link = fabric.link(node);
        self.links.borrow_mut().insert((client, node), link.number());
        link
    }

    pub(super) fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    pub(super) fn next_session(&self) -> u64 {
        self.sessions.set(self.sessions.get() + 1);
        self.sessions.get()
    }

    /// The number of a client's link to a node.
    pub(super) fn link(&self, client: ClientId, node: NodeId) -> usize {
        self.links.borrow()[&(client, node)]
    }

    /// A node takes a client's link back.
    pub(super) fn take_back(&self, client: ClientId, node: NodeId) {
        self.reach.lose_link(client, node);
        self.world.revoke_link(self.link(client, node));
    }
}

/// The life of a node's memory in a run.
pub(super) fn incarnation(node: NodeId) -> Incarnation {
    Incarnation(0x5eed_0000 + u64::from(node.0))
}
