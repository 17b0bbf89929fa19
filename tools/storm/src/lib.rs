//! Clients that fight over a few keys and record what they saw; and the judgement over it.
//!
//! The same storm runs with threads of one process, with several processes, over shared memory and over RDMA. Every value
//! is written once, so a history can be checked for linearizability, key by key.

#![forbid(unsafe_code)]

pub mod chaos;
mod judge;
pub mod restore;
mod storm;

pub use farrow_chaos::now_ns;
pub use judge::{Verdict, judge};
pub use storm::{Storm, Tally, rage};
