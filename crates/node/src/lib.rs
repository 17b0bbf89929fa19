//! The memory node daemon: it registers memory, says who may reach it, and takes no part in GET or PUT.
//!
//! ```text
//!  Daemon ── acceptors (TCP, Unix) ──▶ Sessions ── a thread per connection ──▶ Service
//!                                                                              ├ Clients   who has joined, with which link
//!                                                                              ├ Links     shared memory, RDMA, the epoch
//!                                                                              ├ Extents   one allocator per home
//!                                                                              └ Stats
//! ```
//!
//! [`Daemon::start`] is all a single node needs. Several nodes in one program bind first, so that ports may be chosen by
//! the system, and then serve with the list of their addresses; [`Embedded`] does that:
//!
//! ```no_run
//! # fn main() -> Result<(), farrow_node::StartError> {
//! use farrow_config::Config;
//! use farrow_control::Secret;
//! use farrow_node::Embedded;
//!
//! let mut config = Config::default();
//! config.node.memory = 64 << 20;
//! config.cluster.max_keys = 10_000;
//! let secret = Secret::generate().expect("the system has randomness");
//! let cluster = Embedded::start(&config, 3, &secret)?;
//! println!("clients dial {:?}", cluster.config().cluster.nodes);
//! # Ok(())
//! # }
//! ```
//!
//! A session is one connection. What joins on it leaves when it ends, whether it was closed or broke: links are taken
//! back for certain, open extents stay open under their owner's name until somebody recovers them.

#![forbid(unsafe_code)]

mod agent;
mod clients;
mod coordinated;
mod daemon;
mod embedded;
mod error;
mod extents;
mod format;
mod lease;
mod ledger;
mod links;
mod listen;
mod memory;
mod notify;
mod own_memory;
mod promises;
mod rdma;
mod segments;
mod service;
mod session;
mod sessions;
mod stats;
mod wire;

pub use clients::{SessionId, Who};
pub use daemon::{Bound, Daemon, Ended};
pub use embedded::Embedded;
pub use error::{Failed, StartError};
pub use extents::Usage;
pub use format::format;
pub use lease::{has_closed_home, peers_of, renewal_epoch, served};
pub use ledger::Ledger;
pub use own_memory::OwnMemory;
pub use promises::{Promises, check_fence};
pub use segments::Segments;
