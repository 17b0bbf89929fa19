//! The fabric in a deterministic simulator.
//!
//! A [`World`] holds the memories of any number of nodes and runs any number of client tasks, all on one thread. Each
//! verb is executed in pieces of whole words, each piece an event; chains keep their order on a link, links keep none
//! among each other; completions travel back as events of their own. What happens next, how far a chain gets before a
//! fault, what a client's random numbers are: every such decision comes from one [`Choices`], so a seed, or a recorded
//! list, is the whole run. There is no real time, no thread, and no map whose order is not its keys'.
//!
//! ```text
//!  task --post--> link: chains in order --pieces--> node memory --answers in order--> task woken
//!                 \__________ every arrow is an event on the agenda, picked by the choices __________/
//! ```

mod agenda;
mod chain_run;
mod choices;
mod cost;
pub mod explore;
mod fabric;
mod lane;
mod link;
mod memory;
mod nic;
mod options;
mod pinned;
mod sleep;
mod state;
mod task;
mod trace;
mod watch;
mod world;

pub use choices::{Choices, Point, Recording, Replay, Seed};
pub use cost::CostModel;
pub use fabric::SimFabric;
pub use lane::{Done, Footprint, Lane, LaneKind, Mark, Touch};
pub use link::{SimCompletion, SimLink};
pub use memory::{Access, AccessKind, Memory, Observer};
pub use nic::NicUsage;
pub use options::{Grain, Options, Pace};
pub use sleep::SimSleep;
pub use task::TaskId;
pub use trace::{Trace, TraceLine};
pub use world::World;
