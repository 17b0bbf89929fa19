//! The fabric over libibverbs: RNICs and Soft-RoCE.
//!
//! libibverbs is loaded when it is needed, so a binary with this crate runs on machines that have no RDMA,
//! and says there what is missing. Building needs no headers and no libraries.
//!
//! ```text
//!   memory node                                     client, one per thread
//!   VerbsHost ── registers the node's memory        Engine ── Port, one completion queue, a place to sleep
//!       │                                             │
//!       │      ◄── RdmaEnd, over the control channel ──  Connecting
//!    accept ── RdmaEnd, memory chunks ───────────►    finish ──► VerbsLink ── chains ──► VerbsCompletion
//! ```
//!
//! A client thread opens a [`Port`] once per process, makes an [`Engine`], takes its [`Engine::registrar`] for its
//! buffers, and connects links. [`VerbsFabric`] is all of that for threads whose links are all RDMA; a fabric
//! with other links besides is built from the same parts.
//!
//! What the links promise, and where the device's promise ends, is `docs/fabric.md`.
#![deny(unsafe_code)]

mod alarm;
mod connect;
pub mod device;
mod engine;
mod fabric;
mod flights;
mod host;
mod link;
pub mod memlock;
mod plan;
mod port;
mod reads;
#[allow(unsafe_code, reason = "the border to C; see its documentation")]
pub mod sys;
mod window;

pub use connect::{ConnectError, Connecting, LinkOptions};
pub use engine::{Engine, EngineError, EngineOptions};
pub use fabric::VerbsFabric;
pub use host::{AcceptError, Accepted, HostOptions, NotLater, StartError, VerbsHost, VerbsLinkId};
pub use link::{VerbsCompletion, VerbsLink};
pub use port::{Port, PortError};
pub use window::{BadMemory, Window};
