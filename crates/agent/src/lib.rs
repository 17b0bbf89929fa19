//! The agent: carries out the coordinator's orders as a client of all nodes. Every memory node has one.
//!
//! ```text
//!  change_view   a node is lost:  close at the coordinator ──► fence the survivors ──► make alike ──► publish
//!  Restores      copies are missing: copy while clients work ──► close ──► fence ──► make alike, copy the rest ──► publish
//!  recover       a client is lost: evict it everywhere ──► sweep ──► seal what it had open
//!                     │
//!                   Field        nodes, links and the coordinator: sessions and threads, or simulated
//! ```
//!
//! It touches memory with verbs and asks nodes and the coordinator like anybody else; nothing is its own but the links. What it
//! leaves half done is begun anew by whoever gets the order next, behind a later fence (M-7).

#![forbid(unsafe_code)]

mod change;
mod error;
mod field;
mod orders;
mod recover;
mod restore;

pub use change::change_view;
pub use error::AgentError;
pub use field::Field;
pub use orders::Orders;
pub use recover::recover;
pub use restore::{Frozen, Ready, Restores};
