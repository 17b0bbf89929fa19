//! A link in two halves: what belongs to the thread that will use it, and what any thread may ask the node for meanwhile.

use crate::{AnyFabric, AnyLink, NodeLease, RdmaLink};
use farrow_control::message::{RdmaChunk, RdmaEnd};
use farrow_fabric_shm::{ShmGrant, ShmPeer};
use farrow_fabric_verbs::Connecting;
use farrow_layout::{Epoch, NodeId};
use std::sync::Arc;

/// The half of a link that belongs to the thread of a fabric.
pub struct HalfLink(Half);

enum Half {
    Shm,
    Rdma(Box<Connecting>),
}

/// What a node is asked for.
#[derive(Clone, Copy, Debug)]
pub enum LinkWish {
    /// Shared memory.
    Shm,
    /// The peer of this queue pair.
    Rdma(RdmaEnd),
}

/// The node's half of a link.
#[derive(Debug)]
pub enum LinkOffer {
    /// Shared memory.
    Shm {
        /// The node's memory, mapped into this process.
        peer: Arc<ShmPeer>,
        /// The link in it.
        grant: ShmGrant,
    },
    /// A queue pair.
    Rdma {
        /// The node's.
        end: RdmaEnd,
        /// Where the memory lies.
        memory: Vec<RdmaChunk>,
        /// The node's epoch that it belongs to.
        epoch: Epoch,
        /// How long the node may be believed.
        lease: Arc<NodeLease>,
    },
}

impl HalfLink {
    /// The half of a link over `transport`, as a session has chosen it. Does not block.
    ///
    /// # Errors
    /// In words: the device's.
    pub fn prepare(fabric: &AnyFabric, transport: &str) -> Result<HalfLink, String> {
        if transport != "rdma" {
            return Ok(HalfLink(Half::Shm));
        }
        let engine = fabric.engine().ok_or("this thread's fabric has no RDMA device")?;
        let connecting = engine.connect().map_err(|e| e.to_string())?;
        Ok(HalfLink(Half::Rdma(Box::new(connecting))))
    }

    /// What to ask the node for.
    pub fn wish(&self) -> LinkWish {
        match &self.0 {
            Half::Shm => LinkWish::Shm,
            Half::Rdma(connecting) => LinkWish::Rdma(connecting.end()),
        }
    }

    /// The link, with the node's epoch that it belongs to. Does not block.
    ///
    /// # Errors
    /// In words: the provider's. The node should be told to unlink.
    pub fn finish(
        self,
        fabric: &AnyFabric,
        node: NodeId,
        offer: LinkOffer,
    ) -> Result<(AnyLink, Epoch), String> {
        match (self.0, offer) {
            (Half::Shm, LinkOffer::Shm { peer, grant }) => {
                let link = peer.link(node, grant, fabric.totals_cell(), fabric.corks());
                Ok((AnyLink::Shm(link), Epoch(grant.epoch)))
            }
            (Half::Rdma(connecting), LinkOffer::Rdma { end, memory, epoch, lease }) => {
                let link = connecting.finish(node, &end, memory).map_err(|e| e.to_string())?;
                Ok((AnyLink::Rdma(RdmaLink { link, lease }), epoch))
            }
            _ => Err("the node offers another kind of link than it was asked for".into()),
        }
    }
}
