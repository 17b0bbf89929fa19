//! The control plane: messages and the authenticated, encrypted channel they travel on.
//!
//! Memory nodes hand out memory keys here, so nothing is said before both ends have proved that they hold the
//! cluster's [`Secret`], and everything said afterwards is encrypted. The data path never comes this way.

#![forbid(unsafe_code)]

mod address;
mod channel;
pub mod coordination;
mod frame;
pub mod map;
pub mod message;
pub mod placement;
mod secret;

pub use address::{host_of, with_port};
pub use channel::{Channel, Error, Limits, Timeouts};
pub use frame::{MAX_PAYLOAD, PREAMBLE_LEN, Preamble};
pub use secret::{MIN_SECRET_LEN, Secret, SecretTooShort};
