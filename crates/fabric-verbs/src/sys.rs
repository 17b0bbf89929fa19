//! libibverbs behind owned types: the only place of this crate where discovery and set-up touch C.
//!
//! ```text
//!   Context ◄── ProtectionDomain ◄── MemoryRegion
//!      ▲                ▲
//!      │                └─────────── QueuePair ──► 2 × CompletionQueue
//!      └── CompletionChannel ◄─────────────────────────── ┘
//! ```
//!
//! Every arrow is an `Arc`, so nothing is destroyed before what was made from it. All types may be shared
//! between threads: libibverbs and its providers lock for themselves.
//!
//! What stays unsafe is what the compiler cannot see: the lifetime of memory that a device reads and writes
//! on its own. That is [`MemoryRegion::register`] and [`QueuePair::post_send`], and nothing else. Regions that
//! keep their own memory alive ([`MappedRegion`], [`WordRegion`]) are safe.

pub mod abi;
mod completion;
mod context;
#[cfg(all(test, feature = "layout-oracle"))]
mod layout_oracle;
mod library;
mod memory;
mod queue_pair;
mod region;
mod work_request;

pub use completion::{CompletionChannel, CompletionQueue, Status, Wc};
pub use context::{AsyncEvent, AtomicScope, Context, DeviceLimits, OpenError, PortInfo, Subject};
pub use library::{CallError, NoVerbs, Verbs};
pub use memory::{Access, MemoryRegion, ProtectionDomain};
pub use queue_pair::{
    InitAttr, PathAddress, PostError, QpCaps, QpSeen, QpState, QueuePair, RtrAttr, RtsAttr,
};
pub use region::{DomainRegistrar, MappedRegion, WordRegion};
pub use work_request::{SendWr, Sge, WrFlags};
