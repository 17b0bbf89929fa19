//! A node of a coordinated cluster: it registers, renews its lease, and fences itself when it cannot
//! (`docs/protocols/membership.md`).
//!
//! ```text
//!  heartbeat  renew ──► the coordinator ──► lease, maps, orders
//!  keeper     the lease runs out: promise? ──► every peer ──► lease;   it has run out: RDMA links are broken
//! ```

mod heartbeat;
mod keeper;
mod peers;
mod register;

pub(crate) use heartbeat::beat;
pub(crate) use keeper::keep;
pub(crate) use peers::Peers;
pub(crate) use register::register;
