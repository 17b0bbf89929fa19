//! How fast the copies of a lost node come back, and what that costs clients that work meanwhile.

mod memcpy;
mod run;
mod worker;

pub use memcpy::memcpy_rate;
pub use run::{Both, Connect, Copied, Measured, Restore, run};
pub use worker::Latency;
