//! What the memory node's daemon and the coordinator's have in common: how they end, and how long they believe in a peer that
//! says nothing.

#![forbid(unsafe_code)]

mod ending;
mod tcp;

pub use ending::{Cause, Ending, caught, wait_for_signals};
pub use tcp::serve_over;
