//! A cluster of real processes, the faults that befall it, and how long its clients wait for answers.
//!
//! The engine knows nothing of what the clients do: `farrow-storm chaos` has client processes whose calls are judged,
//! `farrow demo --chaos` has threads of its own.

#![forbid(unsafe_code)]

mod clock;
mod deployment;
mod engine;
mod fault;
mod gaps;
mod leash;
pub mod net;
mod ports;
mod process;
mod redundancy;
mod watch;

pub use clock::now_ns;
pub use deployment::{CLUSTER, Deployment, Settings};
pub use engine::{Crew, Event, NoCrew, Plan, Strike, run};
pub use fault::Fault;
pub use gaps::longest_gap;
pub use leash::{leash_command, run_leash};
pub use process::{Launch, Process};
pub use redundancy::{is_idle, missing};
pub use watch::{Seen, Watch};
