//! Why a daemon cannot start, or has stopped.

use farrow_config::ConfigError;
use farrow_control::map::MapError;
use farrow_fabric_shm::MemoryError;
use std::io;
use std::path::PathBuf;

/// A daemon met a fault in itself and stopped, so that nothing is decided on a state that may be wrong. Its log has more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon met a fault in itself and stopped: {why}; please report it with the log")]
pub struct Failed {
    /// What it was.
    pub why: String,
}

/// Why a daemon cannot start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port is taken.
    #[error(
        "another daemon is listening on {address} (is one running already?): stop it, or choose another node.listen"
    )]
    AddressInUse {
        /// As configured.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; check node.listen")]
    Listen {
        /// As configured.
        address: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The Unix socket beside the port cannot be had.
    #[error(
        "cannot listen on the Unix socket @{name}: {source}; is another daemon of this address running in this network namespace?"
    )]
    Socket {
        /// Its abstract name.
        name: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The node is not one of the cluster's.
    #[error(
        "this node is {advertised}, which cluster.nodes does not list ({}): add it to the list on every node, or set \
         node.advertise to the entry that is this node", .nodes.join(", ")
    )]
    NotListed {
        /// Its address.
        advertised: String,
        /// The list.
        nodes: Vec<String>,
    },
    /// A coordinator does not take the node in.
    #[error("the coordinator refuses this node: {why}")]
    Refused {
        /// Its reason.
        why: String,
    },
    /// The cluster cannot be laid out.
    #[error(transparent)]
    Map(#[from] MapError),
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The memory file holds something.
    #[error("{} {found}", .path.display())]
    MemoryFile {
        /// The file.
        path: PathBuf,
        /// What is in it, and what to do.
        found: String,
    },
    /// The memory file cannot be read, or formatted anew.
    #[error("cannot {what} {}: {source}; check node.memory_file", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Shared memory cannot be offered.
    #[error("shared memory cannot be offered: {0}")]
    Shm(#[from] farrow_fabric_shm::StartError),
    /// A transport that is required is not there.
    #[error(
        "the configuration demands {transport}, which this node cannot offer: {why}. Mend that, or set fabric.transport to \
         auto and fabric.require to none"
    )]
    Required {
        /// Which.
        transport: &'static str,
        /// Why not.
        why: String,
    },
    /// The system refused something else.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}
