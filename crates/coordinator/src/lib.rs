//! Who is in the cluster, and what is to be done when somebody is lost.
//!
//! [`Coordinator`] decides, without sockets, threads and clocks: the daemon and the simulator drive the same code. The rules
//! are in `docs/protocols/membership.md`. [`CoordinatorServer`] is the daemon, a [`Store`] what outlives it.

#![forbid(unsafe_code)]

mod agents;
mod answer;
mod coordinator;
mod formation;
mod instant;
mod losses;
mod nodes;
mod orphans;
mod processes;
mod restores;
mod server;
mod settings;
mod state;
mod status;
mod store;
mod views;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Wait};
pub use coordinator::Coordinator;
pub use instant::Instant;
pub use server::{CoordinatorServer, Failed, Options, StartError};
pub use settings::Settings;
pub use state::{OrderEntry, State};
pub use store::{Campaign, EtcdStore, FileStore, Store, StoreError};
