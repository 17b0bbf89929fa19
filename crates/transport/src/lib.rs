//! Which fabric reaches which node: selection, dialling, and one fabric made of all of them.
//!
//! Everything above (protocols, the client library) is generic over the fabric; this crate is the one place that knows
//! which providers there are. A thread's [`AnyFabric`] owns its time, buffers and corks, and its links may be shared
//! memory to one node and RDMA to the next.

#![forbid(unsafe_code)]

mod choose;
mod coordinator;
mod fabric;
mod half;
mod lease;
mod link;
mod rdma;
mod session;

pub use choose::{Choice, Offer, Preference, Require, choose};
pub use coordinator::{CallError, Caller};
pub use fabric::{AnyFabric, FabricOptions};
pub use half::{HalfLink, LinkOffer, LinkWish};
pub use lease::NodeLease;
pub use link::{AnyCompletion, AnyLink, RdmaCompletion, RdmaLink};
pub use rdma::Rdma;
pub use session::{DialError, DialOptions, Session};
