//! The fabric: links, chains of one-sided verbs, completions, time.
//!
//! A protocol touches remote memory through [`Link::post`] and nothing else, and time and randomness through
//! [`Fabric`] and nothing else; so it runs unmodified over an RNIC, over Soft-RoCE, over shared memory, and in a
//! simulator. The numbered contract is `docs/fabric.md`; its executable form is the `suite` module (feature `suite`),
//! which every provider passes.
//!
//! Everything here is single-threaded on purpose: a thread owns its fabric, its links and its buffers, and shares
//! nothing. Futures are not `Send`.

mod boot_time;
mod buffer;
mod chain;
mod clock;
mod cork;
mod corks;
mod error;
mod exec;
mod fabric;
mod join;
mod mapping;
mod meter;
#[cfg(feature = "suite")]
pub mod suite;
mod totals;
mod wide;

pub use boot_time::boot_time_ns;
pub use buffer::{Buffer, Buffers, OutOfBuffers, Pinned, Registrar, Registration, Slice};
pub use chain::{Answers, Chain, MAX_CHAIN, MAX_SEGMENTS, Slices, Verb};
pub use clock::{Nanos, RealSleep, RealTime};
pub use cork::{Cork, corked};
pub use corks::{Corks, Staged};
pub use error::{Effect, VerbError, Why};
pub use exec::{block_on, block_on_for, is_driven};
pub use fabric::{Caps, Fabric, Link};
pub use join::{JoinAll, join_all, within};
pub use mapping::{Mapping, MappingError};
pub use meter::{Cost, Meter, Posted};
pub use totals::{Totals, TotalsCell};
