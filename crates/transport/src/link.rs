//! A link of any provider.

use crate::lease::NodeLease;
use farrow_fabric::{Answers, Caps, Chain, Link, VerbError, Why};
use farrow_fabric_shm::{ShmCompletion, ShmLink};
use farrow_fabric_verbs::{VerbsCompletion, VerbsLink};
use farrow_layout::NodeId;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A link of any provider: one predictable branch a chain.
#[derive(Clone)]
pub enum AnyLink {
    /// Shared memory.
    Shm(ShmLink),
    /// RDMA.
    Rdma(RdmaLink),
}

/// A link over RDMA. What it answers behind the end of the node's lease is not believed.
#[derive(Clone)]
pub struct RdmaLink {
    pub(crate) link: VerbsLink,
    pub(crate) lease: Arc<NodeLease>,
}

/// The answer to a chain on an [`AnyLink`].
pub enum AnyCompletion {
    /// Shared memory.
    Shm(ShmCompletion),
    /// RDMA.
    Rdma(RdmaCompletion),
}

/// The answer to a chain over RDMA.
pub struct RdmaCompletion {
    completion: VerbsCompletion,
    node: NodeId,
    lease: Arc<NodeLease>,
}

impl Link for AnyLink {
    type Completion = AnyCompletion;

    fn post(&self, chain: Chain) -> AnyCompletion {
        match self {
            AnyLink::Shm(link) => AnyCompletion::Shm(link.post(chain)),
            AnyLink::Rdma(RdmaLink { link, lease }) => {
                let (completion, node) = (link.post(chain), link.node());
                AnyCompletion::Rdma(RdmaCompletion { completion, node, lease: lease.clone() })
            }
        }
    }

    fn node(&self) -> NodeId {
        match self {
            AnyLink::Shm(link) => link.node(),
            AnyLink::Rdma(rdma) => rdma.link.node(),
        }
    }

    fn caps(&self) -> Caps {
        match self {
            AnyLink::Shm(link) => link.caps(),
            AnyLink::Rdma(rdma) => rdma.link.caps(),
        }
    }

    fn is_up(&self) -> bool {
        match self {
            AnyLink::Shm(link) => link.is_up(),
            AnyLink::Rdma(rdma) => rdma.link.is_up() && rdma.lease.runs(),
        }
    }
}

impl Future for AnyCompletion {
    type Output = Result<Answers, VerbError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            AnyCompletion::Shm(completion) => Pin::new(completion).poll(cx),
            AnyCompletion::Rdma(RdmaCompletion { completion, node, lease }) => {
                match Pin::new(completion).poll(cx) {
                    // The node's memory was asked while it had a lease only if it has one still.
                    Poll::Ready(Ok(_)) if !lease.runs() => {
                        Poll::Ready(Err(VerbError::maybe(*node, Why::LeaseExpired)))
                    }
                    polled => polled,
                }
            }
        }
    }
}
