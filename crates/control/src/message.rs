//! What clients, tools and memory nodes say to each other. Requests and replies alternate on a channel.

use crate::map::ClusterMap;
use farrow_layout::{BlockAddr, ClientId, Epoch, HomeId, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

/// From a client or a tool to a memory node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First on every channel: who speaks. Answered by [`Reply::Welcome`].
    Hello {
        /// Program and purpose, for `status`.
        who: String,
        /// Process id, for `status` and for fencing over shared memory.
        pid: u32,
    },
    /// A thread of this process becomes a client. Answered by [`Reply::Joined`], or refused when the id is taken.
    Join {
        /// An id that the client drew at random.
        client: ClientId,
    },
    /// A client leaves: its links are closed, its sealed extents stay. Answered by [`Reply::Done`].
    Leave {
        /// The client.
        client: ClientId,
    },
    /// A link over shared memory. Answered by [`Reply::Shm`]; on a Unix socket only: the file descriptors of the node's
    /// memory and control page follow the reply when `want_files` is set.
    LinkShm {
        /// The client that will own the link.
        client: ClientId,
        /// Whether the process has no mapping of this node yet.
        want_files: bool,
    },
    /// A link over RDMA: the client's end. Answered by [`Reply::Rdma`] with the node's end, ready to receive.
    LinkRdma {
        /// The client that will own the link.
        client: ClientId,
        /// The client's queue pair.
        end: RdmaEnd,
    },
    /// Closes one link of a client. Answered by [`Reply::Done`].
    Unlink {
        /// The client.
        client: ClientId,
    },
    /// Space to append to, in a home of which this node is the primary. Answered by [`Reply::Extent`].
    OpenExtent {
        /// For whom.
        client: ClientId,
        /// In which home.
        home: HomeId,
        /// At least so many bytes, contiguous within one block.
        bytes: u64,
    },
    /// All operations of the owner in these extents have ended. Answered by [`Reply::Done`].
    SealExtent {
        /// The owner.
        client: ClientId,
        /// The home.
        home: HomeId,
        /// As it was granted.
        grant: ExtentGrant,
        /// Bytes appended, of the grant's length.
        used: u64,
    },
    /// Everything the node can tell about itself. Answered by [`Reply::Stats`].
    Stats,
    /// Breaks all links of earlier epochs. Answered by [`Reply::Fenced`] when nothing of them can execute any more, and when
    /// this node's promises to those who are deposed have ended.
    Fence {
        /// Links granted from now on belong to this epoch.
        epoch: Epoch,
        /// The nodes without whom the cluster goes on.
        deposed: Vec<NodeId>,
    },
    /// The latest map that the node knows. Answered by [`Reply::Map`].
    Map,
    /// For how long the node may serve. Answered by [`Reply::Lease`]. Over RDMA clients ask, for a daemon that is stopped cannot
    /// break their links.
    Lease,
    /// A later map. Answered by [`Reply::Done`], also when the node knows it already.
    Adopt {
        /// The map.
        map: Box<ClusterMap>,
    },
    /// A client is lost: its link is broken for good, and its id refused from now on. Answered by [`Reply::Evicted`].
    Evict {
        /// The client.
        client: ClientId,
    },
    /// As [`Request::SealExtent`], for a client that was evicted. Answered by [`Reply::Done`].
    SealFor {
        /// The owner.
        client: ClientId,
        /// The home.
        home: HomeId,
        /// As it was granted.
        grant: ExtentGrant,
        /// Bytes appended, of the grant's length.
        used: u64,
    },
    /// A segment is to become a replica of a home: it is emptied, and its header written. Answered by [`Reply::Done`].
    Prepare {
        /// The home.
        home: HomeId,
        /// The segment; no home of the node's map lives there.
        segment: u32,
        /// The epoch of the order.
        epoch: Epoch,
    },
    /// A peer cannot reach the coordinator: will this node see to it that nobody goes on without the peer for as long as a
    /// lease? Answered by [`Reply::Promised`].
    Promise {
        /// The peer.
        node: NodeId,
        /// Its memory's life.
        incarnation: Incarnation,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
}

/// From a memory node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The node, the map, and how it can be reached.
    Welcome(Box<Welcome>),
    /// The client may ask for links.
    Joined,
    /// Done.
    Done,
    /// One end of a shared-memory link.
    Shm(ShmEnd),
    /// The node's end of a queue pair, and the memory behind it.
    Rdma {
        /// The node's queue pair.
        end: RdmaEnd,
        /// Where the memory lies.
        memory: Vec<RdmaChunk>,
        /// The epoch that the link belongs to.
        epoch: Epoch,
    },
    /// Space to append to.
    Extent(ExtentGrant),
    /// The node's state.
    Stats(Box<NodeStats>),
    /// Links broken.
    Fenced {
        /// How many.
        links: u32,
    },
    /// A map.
    Map(Box<ClusterMap>),
    /// What is left of the node's lease.
    Lease {
        /// Milliseconds, rounded down; none if it never ends.
        left_ms: Option<u64>,
    },
    /// The client's link is broken.
    Evicted {
        /// What it has open in homes of which this node is the primary.
        open: Vec<OpenGrant>,
    },
    /// Nobody will go on without the peer for as long as it asked for.
    Promised,
    /// The request was not carried out.
    Refused(Refusal),
}

/// Extents that a client has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenGrant {
    /// The home.
    pub home: HomeId,
    /// The extents.
    pub grant: ExtentGrant,
}

/// A node introduces itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The node.
    pub node: NodeId,
    /// This life of its memory.
    pub incarnation: Incarnation,
    /// The cluster as the node knows it.
    pub map: ClusterMap,
    /// Bytes of memory.
    pub memory_len: u64,
    /// The name of the Unix socket (abstract, so visible within one network namespace) where shared memory is handed out.
    pub shm_socket: Option<String>,
    /// The kernel's boot id: equal on one host.
    pub boot_id: String,
    /// Addresses (GIDs) of the RDMA ports that the node listens on; empty without RDMA.
    pub rdma: Vec<RdmaPort>,
    /// Why there is no RDMA, for people.
    pub rdma_note: String,
}

/// An RDMA port of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdmaPort {
    /// Device name on the node.
    pub device: String,
    /// Port number on the device.
    pub port: u8,
    /// GID index on the port.
    pub gid_index: u8,
    /// The GID.
    pub gid: [u8; 16],
}

/// One end of a reliable-connected queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdmaEnd {
    /// Queue pair number.
    pub qpn: u32,
    /// First packet sequence number.
    pub psn: u32,
    /// Local identifier (InfiniBand only).
    pub lid: u16,
    /// Global identifier.
    pub gid: [u8; 16],
    /// Path MTU in bytes that this end can do.
    pub mtu: u16,
    /// READs and atomics that this end answers at a time.
    pub responder_reads: u8,
}

/// A registered piece of a node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdmaChunk {
    /// Offset into the node's memory.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Virtual address at the node.
    pub address: u64,
    /// Memory key.
    pub key: u32,
}

/// One end of a shared-memory link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShmEnd {
    /// Which link of the control page.
    pub link: u32,
    /// The key of this grant of the link, told to nobody else.
    pub key: u32,
    /// The link's epoch word; the link is broken when the control page says otherwise.
    pub epoch: u64,
}

/// Extents that a client may append to, contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtentGrant {
    /// First extent.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// The first byte.
    pub start: BlockAddr,
    /// Bytes.
    pub len: u64,
    /// The generation of each extent's record, in order.
    pub generation: u32,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The client id is in use.
    #[error("client id {0} is in use")]
    ClientTaken(ClientId),
    /// The client has not joined, or was fenced.
    #[error("client {0} is not joined here")]
    NotJoined(ClientId),
    /// All link slots are taken.
    #[error("the node serves {0} clients already: raise node.max_clients")]
    TooManyClients(u32),
    /// No free extent.
    #[error("home {home} has no free block left ({blocks} blocks of {block_len} bytes are in use)")]
    NoSpace {
        /// The home.
        home: HomeId,
        /// Its blocks.
        blocks: u64,
        /// Bytes of each.
        block_len: u64,
    },
    /// The node is not the primary of that home.
    #[error("node {node} is not the primary of home {home}")]
    NotPrimary {
        /// The node.
        node: NodeId,
        /// The home.
        home: HomeId,
    },
    /// The home is closed: its members are being made alike. It opens in milliseconds.
    #[error("home {0} is closed for a change of view: ask again shortly")]
    HomeClosed(HomeId),
    /// The transport is not available.
    #[error("{0}")]
    Transport(String),
    /// A request that makes no sense here.
    #[error("bad request: {0}")]
    Bad(String),
    /// An epoch that is not newer.
    #[error("epoch {asked} is not newer than {current}")]
    StaleEpoch {
        /// As asked.
        asked: Epoch,
        /// The node's.
        current: Epoch,
    },
    /// The client was taken for lost: whoever comes under its name now needs another.
    #[error("client {0} was taken for lost and evicted")]
    Evicted(ClientId),
    /// The node has no lease, so others may go on without it.
    #[error("the node has no lease: it cannot reach the coordinator, nor all of its peers")]
    NoLease,
    /// The node will be passed over, or was.
    #[error("{0} is passed over")]
    Deposed(NodeId),
}

/// A node's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStats {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its epoch.
    pub epoch: Epoch,
    /// The daemon's process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// Bytes of memory.
    pub memory_len: u64,
    /// Kind of pages behind the memory, and why.
    pub pages: String,
    /// What the node offers, with reasons.
    pub transports: Vec<String>,
    /// Joined clients.
    pub clients: Vec<ClientStats>,
    /// One entry a segment.
    pub segments: Vec<SegmentStats>,
    /// Control requests served, by kind.
    pub requests: Vec<(String, u64)>,
}

/// A client as a node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientStats {
    /// Its id.
    pub client: ClientId,
    /// Program and purpose.
    pub who: String,
    /// Process id as it says.
    pub pid: u32,
    /// `shm` or `rdma`; empty without a link.
    pub transport: String,
}

/// A segment as its node sees it. Byte counts are of this node, not of the home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SegmentStats {
    /// Which segment of the node.
    pub segment: u32,
    /// The home it replicates.
    pub home: HomeId,
    /// 0 at the primary.
    pub rank: u16,
    /// Bytes of index.
    pub index_bytes: u64,
    /// Bytes of blocks.
    pub block_bytes: u64,
    /// Bytes in extents that nobody has.
    pub free_bytes: u64,
    /// Bytes in open extents.
    pub open_bytes: u64,
    /// Of these, bytes whose owner is not joined here any more: they wait for recovery (counted at the primary).
    pub orphaned_bytes: u64,
    /// Bytes of entries in sealed extents.
    pub sealed_bytes: u64,
    /// Bytes of entries that no slot names any more (counted at the primary, in batches).
    pub dead_bytes: u64,
    /// Slots that name an entry; an estimate from a sample where there are millions.
    pub used_slots: u64,
    /// Slots in all.
    pub slots: u64,
}
