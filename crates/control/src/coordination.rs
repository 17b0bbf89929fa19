//! What nodes, client processes, agents and operators say to a coordinator. Requests and replies alternate on a channel.

use crate::map::{ClusterMap, HomeEntry, MemberEntry};
use farrow_layout::{ClientId, Epoch, HomeId, Incarnation, NodeId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A process that has clients, under a name that it drew at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId(pub u64);

/// An order of the coordinator; never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderId(pub u64);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// To a coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// First on every channel. Answered by [`Tell::Welcome`].
    Hello {
        /// Program and purpose, for `status`.
        who: String,
    },
    /// A node offers memory that holds nothing. Answered by [`Tell::Registered`].
    Register(Registration),
    /// A node is there. Answered by [`Tell::News`] when there is news, or after a quarter of a lease; or refused with
    /// [`Denial::Deposed`].
    Renew(Renewal),
    /// A client process is there. Answered as [`Ask::Renew`]; refused with [`Denial::ProcessLost`].
    Watch {
        /// The process.
        process: ProcessId,
        /// Program and purpose, for `status`.
        who: String,
        /// The epoch of its map; 0 without one.
        epoch: Epoch,
    },
    /// An id for another client of the process. Answered by [`Tell::Client`].
    NewClient {
        /// The process.
        process: ProcessId,
    },
    /// A client has left every node. Answered by [`Tell::Done`].
    LeaveClient {
        /// The process.
        process: ProcessId,
        /// The client.
        client: ClientId,
        /// Whether all of its extents are sealed: otherwise it is recovered like one that was lost.
        is_clean: bool,
    },
    /// A process cannot reach a node. Answered by [`Tell::Decided`].
    Unreachable {
        /// The process.
        process: ProcessId,
        /// The node.
        node: NodeId,
        /// How long ago it said so first, without having reached the node since, in nanoseconds.
        for_ns: u64,
        /// For people.
        why: String,
    },
    /// An agent is about to fence on behalf of its orders: their homes are closed. Answered by [`Tell::Closed`]; refused with
    /// [`Denial::Busy`] while others do, with [`Denial::NotYours`] when the orders are another's by now.
    Close {
        /// The agent.
        agent: NodeId,
        /// Its orders.
        orders: Vec<OrderId>,
    },
    /// The homes are alike on all members: they open. Answered by [`Tell::Done`]; refused with [`Denial::NotYours`].
    Publish {
        /// The agent.
        agent: NodeId,
        /// Its orders.
        orders: Vec<OrderId>,
        /// The epoch of their closing.
        epoch: Epoch,
    },
    /// An order that closes nothing is done. Answered by [`Tell::Done`]; refused with [`Denial::NotYours`].
    Completed {
        /// The agent.
        agent: NodeId,
        /// The order.
        order: OrderId,
    },
    /// What is going on. Answered by [`Tell::Status`].
    Status,
    /// A node that is silent is gone for good, its memory too: an operator says so, and the cluster goes on without it.
    /// Answered by [`Tell::Done`].
    Forget {
        /// The node.
        node: NodeId,
    },
}

/// A node that offers memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The life of its memory. Registered again, it gets the id that it has.
    pub incarnation: Incarnation,
    /// Where its control plane listens.
    pub address: String,
    /// What it fails together with.
    pub domain: String,
    /// Bytes of memory.
    pub memory_len: u64,
}

/// A node that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The node.
    pub node: NodeId,
    /// The life of its memory.
    pub incarnation: Incarnation,
    /// The epoch of its map.
    pub epoch: Epoch,
    /// How far it is with its orders.
    pub progress: Vec<Progress>,
    /// Owners of extents that are open at homes of which it is the primary, who are not joined there: the lowest ids, at most
    /// [`MAX_ORPHANS`].
    pub orphans: Vec<ClientId>,
}

/// Owners that one renewal names at most. Ids grow, so those named first are those that can be gone for longest; the others' turn
/// comes when they are cleaned up behind.
pub const MAX_ORPHANS: usize = 1024;

/// How far an agent is with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The order.
    pub order: OrderId,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, as far as is known.
    pub total: u64,
}

/// From a coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Tell {
    /// The coordinator leads, and knows this.
    Welcome {
        /// The cluster's name.
        name: String,
        /// How long a lease is, in milliseconds.
        lease_ms: u64,
    },
    /// The node is in.
    Registered {
        /// Its place in the map.
        node: NodeId,
        /// The map; without homes while the cluster waits for more nodes.
        map: Box<ClusterMap>,
    },
    /// The lease is renewed from when the request was sent.
    News(Box<News>),
    /// An id that nobody ever had.
    Client(ClientId),
    /// What becomes of the node.
    Decided(Decision),
    /// The homes of the orders are closed.
    Closed {
        /// Under this epoch.
        epoch: Epoch,
        /// The map that says so.
        map: Box<ClusterMap>,
    },
    /// Done.
    Done,
    /// What is going on.
    Status(Box<CoordinatorStatus>),
    /// The request was not carried out.
    Denied(Denial),
}

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// The map, if it is of a later epoch than the one who asks has.
    pub map: Option<ClusterMap>,
    /// All orders that are a node's own, whether it has heard of them or not.
    pub orders: Vec<Order>,
}

/// What an agent is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub id: OrderId,
    /// How often it was handed to an agent: what was begun under another number is given up.
    pub attempt: u32,
    /// What.
    pub task: Task,
}

/// Kinds of orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Close these homes, make their members alike, publish.
    ChangeView {
        /// The homes.
        homes: Vec<HomeId>,
        /// Nodes that the cluster goes on without.
        deposed: Vec<NodeId>,
    },
    /// Copy a home to one more member.
    Restore {
        /// The home.
        home: HomeId,
        /// The new member.
        target: MemberEntry,
        /// Bytes a second that clients are left; 0 is no cap.
        bytes_per_s: u64,
    },
    /// Clean up behind a lost client.
    RecoverClient {
        /// The client.
        client: ClientId,
    },
}

/// What becomes of a node that somebody cannot reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// The cluster goes on without it: wait for the map.
    Deposing,
    /// Others reach it: the way there is what is broken.
    YourWay,
    /// It has a lease, but has said nothing since it was reported: it may be dead. Ask again, until it is one of the others.
    Undecided,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Denial {
    /// Another coordinator leads.
    #[error("this coordinator does not lead{}", .leader.as_ref().map(|l| format!(": {l} does")).unwrap_or_default())]
    NotLeading {
        /// Its address, if it is known.
        leader: Option<String>,
    },
    /// The node was passed over.
    #[error("{0} was passed over: it has to register anew")]
    Deposed(NodeId),
    /// The process was taken for lost.
    #[error("process {0} was taken for lost: its clients need new ids")]
    ProcessLost(ProcessId),
    /// The order is another agent's, or done.
    #[error("order {0} is not this agent's")]
    NotYours(OrderId),
    /// Another order has homes closed: ask again shortly.
    #[error("other homes are closed just now")]
    Busy,
    /// The state could not be stored, so nothing was done.
    #[error("the coordinator cannot store its state: {0}")]
    Store(String),
    /// A request that makes no sense here.
    #[error("bad request: {0}")]
    Bad(String),
}

/// A coordinator's state, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    /// The map.
    pub map: ClusterMap,
    /// Where the state is kept.
    pub store: String,
    /// A lease, in milliseconds.
    pub lease_ms: u64,
    /// Nodes with what is left of their leases, in milliseconds; none for those that are lost.
    pub leases: Vec<(NodeId, u64)>,
    /// Client processes: name, program, clients, what is left of the lease in milliseconds.
    pub processes: Vec<ProcessStatus>,
    /// Orders that are not done.
    pub orders: Vec<OrderStatus>,
    /// Homes that nothing can be restored to for want of a node, and why.
    pub stuck: Vec<(HomeId, String)>,
    /// Since it leads: nodes lost, client processes lost, orders done.
    pub counts: Counts,
}

/// A client process, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The process.
    pub process: ProcessId,
    /// Program and purpose.
    pub who: String,
    /// Its clients.
    pub clients: Vec<ClientId>,
    /// What is left of its lease, in milliseconds.
    pub left_ms: u64,
}

/// An order, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// The order.
    pub order: Order,
    /// Whose it is.
    pub agent: Option<NodeId>,
    /// How far it is, if its agent has said so.
    pub progress: Option<Progress>,
}

/// What has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Nodes that were passed over.
    pub nodes_lost: u64,
    /// Client processes that were taken for lost.
    pub processes_lost: u64,
    /// Views that were opened.
    pub views_changed: u64,
    /// Members that were added.
    pub members_restored: u64,
    /// Clients that were cleaned up behind.
    pub clients_recovered: u64,
    /// Orders that were taken from an agent.
    pub orders_retaken: u64,
}

/// The homes of a closing, as its map has them.
pub fn closed_homes(map: &ClusterMap, epoch: Epoch) -> impl Iterator<Item = &HomeEntry> {
    map.homes.iter().filter(move |home| !home.is_open && home.epoch == epoch)
}
