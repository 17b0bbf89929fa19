//! One home: its nodes, a table with a past, a handful of keys that get into each other's way, and clients.

mod client;
mod cluster;
mod coordinator;
mod keys;
mod recovery;
mod restorer;
mod run;
mod scenario;
mod scope;
mod shadow;
mod structure;

pub(crate) use client::heard;
pub(crate) use cluster::{open_entry, plan};
pub use coordinator::wrong_in;
pub use run::{Report, run};
pub use scenario::{Fault, Name, Scenario, Step, Table, Verb, When, options};
pub use scope::Scope;

use farrow_control::map::CommitKind;
use farrow_fabric_sim::{Seed, World};
use farrow_protocol::{Colocated, Event, Snapshot};
use serde::{Deserialize, Serialize};

/// Which commit protocol runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Farrow's.
    Colocated,
    /// FUSEE's.
    Snapshot,
}

impl Protocol {
    /// Both.
    pub const ALL: [Protocol; 2] = [Protocol::Colocated, Protocol::Snapshot];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Colocated => "colocated",
            Protocol::Snapshot => "snapshot",
        }
    }

    /// The protocol of this name.
    pub fn named(name: &str) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|p| p.name() == name)
    }

    /// What the cluster map calls it.
    pub fn commit(self) -> CommitKind {
        match self {
            Protocol::Colocated => CommitKind::Colocated,
            Protocol::Snapshot => CommitKind::Snapshot,
        }
    }

    /// Replicas at the most in a scenario that is drawn.
    fn max_copies(self) -> u64 {
        match self {
            Protocol::Colocated => 3,
            Protocol::Snapshot => 4,
        }
    }

    /// Whether it survives clients that stop: SNAPSHOT's losers wait for the winner, for ever if it is dead.
    fn survives_stops(self) -> bool {
        self == Protocol::Colocated
    }

    /// Whether `event` is a path of this protocol, which a sweep has to reach.
    pub fn has_path(self, event: Event) -> bool {
        match self {
            Protocol::Colocated => {
                !event.label().starts_with("snapshot")
                    && ![Event::JoinedMember, Event::RecoveredClient, Event::TookBackStray].contains(&event)
            }
            // It does not repair, has nothing to help with, and no recovery of its own here.
            Protocol::Snapshot => {
                ![Event::Helped, Event::RepairedBackup, Event::BackupAhead].contains(&event)
                    && !event.is_of_views()
            }
        }
    }
}

/// A new world of `seed`; with `record` it keeps the lines of its trace.
pub fn world(seed: u64, record: bool) -> World {
    World::new(scenario::options(seed, record), Seed::new(seed))
}

/// Homes that are restored onto a spare and whose clients are recovered, drawn from seeds. `colocated` alone.
#[derive(Clone, Copy, Debug)]
pub struct Restored;

impl Restored {
    /// Draws the scenario of `world`'s choices and runs it.
    ///
    /// # Panics
    /// When an oracle objects.
    pub fn run_drawn(self, world: &World) -> Report {
        let scenario = Scenario::draw_restored(world);
        run(world, Colocated, &scenario)
    }
}

/// Draws the scenario of `world`'s choices and runs it.
///
/// # Panics
/// When an oracle objects.
pub fn run_drawn(world: &World, protocol: Protocol) -> Report {
    let scenario = draw(world, protocol);
    run_as(world, protocol, &scenario)
}

/// Draws a scenario of `world`'s choices.
pub fn draw(world: &World, protocol: Protocol) -> Scenario {
    Scenario::draw(world, protocol.max_copies(), protocol.survives_stops())
}

/// Runs `scenario` under a protocol that is known by name.
///
/// # Panics
/// When an oracle objects.
pub fn run_as(world: &World, protocol: Protocol, scenario: &Scenario) -> Report {
    match protocol {
        Protocol::Colocated => run(world, Colocated, scenario),
        Protocol::Snapshot => run(world, Snapshot, scenario),
    }
}
