//! Histories and the oracles that judge them, for tests.
//!
//! Tests that drive real processes and tests that drive a simulator share what lies here. Clients note what
//! they asked and what they were told ([`history`]); afterwards the oracles say whether a correct store could
//! have answered so: [`linear`] per key, [`durability`](history::durability) for what is left at the end.
//!
//! Nothing here has a clock, a thread or a source of randomness of its own.
#![forbid(unsafe_code)]

pub mod history;
pub mod linear;
