//! A link of any provider.

use farrow_fabric::{Answers, Caps, Chain, Link, VerbError};
use farrow_fabric_shm::{ShmCompletion, ShmLink};
use farrow_fabric_verbs::{VerbsCompletion, VerbsLink};
use farrow_layout::NodeId;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A link of any provider: one predictable branch a chain.
#[derive(Clone)]
pub enum AnyLink {
    /// Shared memory.
    Shm(ShmLink),
    /// RDMA.
    Rdma(VerbsLink),
}

/// The answer to a chain on an [`AnyLink`].
pub enum AnyCompletion {
    /// Shared memory.
    Shm(ShmCompletion),
    /// RDMA.
    Rdma(VerbsCompletion),
}

impl Link for AnyLink {
    type Completion = AnyCompletion;

    fn post(&self, chain: Chain) -> AnyCompletion {
        match self {
            AnyLink::Shm(link) => AnyCompletion::Shm(link.post(chain)),
            AnyLink::Rdma(link) => AnyCompletion::Rdma(link.post(chain)),
        }
    }

    fn node(&self) -> NodeId {
        match self {
            AnyLink::Shm(link) => link.node(),
            AnyLink::Rdma(link) => link.node(),
        }
    }

    fn caps(&self) -> Caps {
        match self {
            AnyLink::Shm(link) => link.caps(),
            AnyLink::Rdma(link) => link.caps(),
        }
    }

    fn is_up(&self) -> bool {
        match self {
            AnyLink::Shm(link) => link.is_up(),
            AnyLink::Rdma(link) => link.is_up(),
        }
    }
}

impl Future for AnyCompletion {
    type Output = Result<Answers, VerbError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            AnyCompletion::Shm(completion) => Pin::new(completion).poll(cx),
            AnyCompletion::Rdma(completion) => Pin::new(completion).poll(cx),
        }
    }
}
