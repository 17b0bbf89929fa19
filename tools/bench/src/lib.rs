//! Workload generators, load loop and report of `farrow bench`.
//!
//! ```text
//!  cli ─▶ settings, sizing ─▶ farrow | redis ── stores ──▶ drive ─▶ lane (one a thread) ─▶ tally
//!                                                            └────▶ report ─▶ table
//! ```
//!
//! One harness measures Farrow and its peers: a store is what carries out five operations.
#![forbid(unsafe_code)]

pub mod cli;
mod drive;
mod farrow;
mod lane;
mod progress;
pub mod record;
mod redis;
mod rendezvous;
mod report;
mod settings;
mod sizing;
mod store;
mod stored;
mod table;
mod tally;
#[cfg(test)]
mod tests;
pub mod workload;
