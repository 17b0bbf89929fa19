//! Farrow's protocols in the simulator: the code that runs in production, under every order of verbs that can be, with
//! faults, and judged by every oracle there is.
//!
//! ```text
//!  sweep      many seeds, on all cores; what no seed reached fails it
//!    ├ home     one home whose index has a past: scenario · cluster · client · shadow · structure
//!    └ whole    a cluster: nodes with their control planes, the product's clients, faults  ── region: what is left
//!  explore    every schedule of small scopes of a home, or all with few delays
//!    └ case     a run as a value, in a file; minimise makes it smaller, timeline prints it
//!  predict    what operations take, in virtual time
//!        └ farrow-fabric-sim: the world of word events     farrow-testkit: histories and their judges
//!  predict    closed loops in virtual time: what the protocols would do on other machines
//! ```
#![forbid(unsafe_code)]

pub mod case;
pub mod explore;
pub mod home;
pub mod minimise;
#[cfg(farrow_mutants)]
pub mod mutants;
pub mod predict;
pub mod region;
pub mod sweep;
pub mod timeline;
pub mod whole;

pub use case::Case;
pub use explore::{Ended, Explore, Explored};
pub use minimise::Minimise;
pub use sweep::{Family, Sweep, Swept, Tally};
pub use whole::{Coordinated, Crashes, Whole};
