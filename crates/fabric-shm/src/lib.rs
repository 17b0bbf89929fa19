//! The fabric over shared memory on one host: a link is a mapping, a verb is loads and stores of the caller's CPU.
//!
//! A node daemon makes its memory with [`NodeMemory`] and hands out links with [`ShmHost`]; file descriptors travel by
//! [`send_grant`]. A client maps each node once per process ([`ShmPeer`]), and each of its threads makes links of that
//! ([`ShmPeer::link`]) for the [`ShmFabric`] of the thread.
//!
//! Nobody can take a mapping away, so a dead, fencing or expired node becomes a failed link by agreement: a client
//! announces each chain in its link's busy flag, and looks at the node's liveness, the link's epoch and the node's lease
//! before the chain and after it.
//!
//! ```text
//!  daemon                                        client
//!  fence: epoch := new                           busy := 1     (CAS; fails on a link granted to someone else)
//!         CAS busy 0, grant g → 0, g+1           owner alive, epoch mine, lease running? otherwise fail: nothing happened
//!         (waits for busy; kills a client        loads and stores
//!          that sleeps inside of it)             owner alive, epoch mine, lease running? otherwise fail: maybe
//!                                                busy := 0
//! ```
//!
//! The kernel marks the daemon dead: `owner` is a robust futex of a thread that does nothing else, so a daemon killed in
//! any way fails its links before its parent can know, and a stopped one does not.
//!
//! A client that was handed the memory can write all of it. Hand it only to processes that may.

mod fabric;
mod host;
mod link;
mod liveness;
mod mapped;
mod memory;
mod page;
mod pass;
mod peer;
mod process;
mod system;

pub use fabric::ShmFabric;
pub use host::{FenceError, Fenced, NoLinkLeft, Revoked, ShmGrant, ShmHost, StartError};
pub use link::{ShmCompletion, ShmLink};
pub use memory::{Hugepages, MemoryError, NodeMemory, PageKind, Pages};
pub use pass::{PassError, Passed, peer_process, receive_grant, send_grant};
pub use peer::{PeerError, ShmPeer};
