//! The node's end of RDMA links: what a verbs provider implements for the daemon.

use farrow_config::{Fabric, Transport};
use farrow_control::message::{RdmaChunk, RdmaEnd, RdmaPort};
use farrow_fabric_shm::NodeMemory;
use farrow_layout::{ClientId, Epoch};

/// Queue pairs and registered memory of one node. Calls come from many threads.
pub(crate) trait RdmaHost: Send + Sync {
    /// The ports that links can be made on; empty when RDMA is not offered.
    fn ports(&self) -> Vec<RdmaPort>;

    /// For people: what is offered, or why nothing is.
    fn note(&self) -> String;

    /// Makes the node's end of a link of `epoch` for `client`, connected to `end` and ready to receive. The client has no
    /// other: an earlier one was disconnected.
    ///
    /// # Errors
    /// For people: why not, and what to do.
    fn connect(&self, client: ClientId, epoch: Epoch, end: &RdmaEnd) -> Result<RdmaLink, String>;

    /// Destroys the client's queue pair, if it has one. When it returns, nothing posted on it will execute.
    fn disconnect(&self, client: ClientId);

    /// Destroys all queue pairs of epochs before `epoch`, and makes their memory keys void. When it returns `Ok`, nothing
    /// posted on them will execute. Returns how many there were.
    ///
    /// # Errors
    /// For people: which could not be destroyed. It may be called again.
    fn fence(&self, epoch: Epoch) -> Result<u32, String>;
}

/// The node's end of a link, as the client needs to know it.
#[derive(Debug)]
pub(crate) struct RdmaLink {
    pub(crate) end: RdmaEnd,
    pub(crate) memory: Vec<RdmaChunk>,
}

/// Finds a device and registers `memory` with it, for up to `max_clients` links. Where that is not possible, the result
/// says so in its note and offers no port.
pub(crate) fn open(config: &Fabric, _memory: &NodeMemory, _max_clients: u32) -> Box<dyn RdmaHost> {
    let note = match config.transport {
        Transport::Shm => "fabric.transport is shm",
        Transport::Auto | Transport::Rdma => "this release's memory node offers shared memory only",
    };
    Box::new(NoRdma { note: note.to_owned() })
}

/// RDMA is not offered.
struct NoRdma {
    note: String,
}

impl RdmaHost for NoRdma {
    fn ports(&self) -> Vec<RdmaPort> {
        Vec::new()
    }

    fn note(&self) -> String {
        self.note.clone()
    }

    fn connect(&self, _: ClientId, _: Epoch, _: &RdmaEnd) -> Result<RdmaLink, String> {
        Err(format!("this node offers no RDMA: {}", self.note))
    }

    fn disconnect(&self, _: ClientId) {}

    fn fence(&self, _: Epoch) -> Result<u32, String> {
        Ok(0)
    }
}
