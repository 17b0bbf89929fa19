//! Farrow's protocols in the simulator: the code that runs in production, under every order of verbs that can be, with
//! faults, and judged by every oracle there is.
//!
//! ```text
//!  sweep      many seeds, on all cores; what no seed reached fails it
//!    ├ home     one home whose index has a past: scenario · cluster · client · shadow · structure
//!    └ whole    a cluster: nodes with their control planes, the product's clients, faults  ── region: what is left
//!        └ farrow-fabric-sim: the world of word events     farrow-testkit: histories and their judges
//! ```
#![forbid(unsafe_code)]

pub mod case;
pub mod explore;
pub mod home;
#[cfg(farrow_mutants)]
pub mod mutants;
pub mod predict;
pub mod region;
pub mod sweep;
pub mod whole;

pub use case::Case;
pub use explore::{Ended, Explore, Explored};
pub use sweep::{Family, Sweep, Swept, Tally};
pub use whole::Whole;
