//! Workload generators, load loop and report of farrow bench
#![forbid(unsafe_code)]

pub mod record;
pub mod workload;
