//! Workload generators, load loop and report of `farrow bench`.
//!
//! Every store is measured by one harness: Farrow, embedded or running somewhere, and peers beside it.
#![forbid(unsafe_code)]

pub mod cli;
mod drive;
mod farrow;
mod lane;
mod memory;
mod progress;
pub mod record;
mod redis;
mod rendezvous;
mod report;
mod settings;
mod store;
mod stored;
mod tally;
pub mod workload;
