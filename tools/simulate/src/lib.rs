//! Farrow's protocols in the simulator: the code that runs in production, under every order of verbs that can be, with
//! faults, and judged by every oracle there is.
//!
//! ```text
//!  sweep      many seeds, on all cores; what no seed reached fails it
//!    └ home     one home whose index has a past: scenario · cluster · client · shadow · structure
//!        └ farrow-fabric-sim: the world of word events     farrow-testkit: histories and their judges
//!  predict    closed loops in virtual time: what the protocols would do on other machines
//! ```
#![forbid(unsafe_code)]

pub mod home;
pub mod predict;
pub mod sweep;

pub use sweep::{Sweep, Swept};
