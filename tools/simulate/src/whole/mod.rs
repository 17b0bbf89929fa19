//! A whole cluster in one world: nodes with the product's control plane, clients of the product, and everything that can
//! go wrong between them.
//!
//! ```text
//!  run        phases: fill · clients and faults · rest · fresh client · leave · what is left
//!   ├ cluster   nodes and seats          node   Ledger and format of farrow-node, sessions as tasks
//!   ├ client    Core of farrow-client    space  its side of the control plane, a task a node
//!   └ oracles   shadow (rules of the layout) · legal (errors) · region (structure) · testkit (histories)
//! ```

mod client;
mod cluster;
pub mod coordinated;
mod keys;
mod legal;
mod mailbox;
mod node;
mod probes;
mod reach;
mod rot;
mod rules;
mod run;
mod scenario;
mod shadow;
mod space;

pub use coordinated::{Coordinated, Crashes};
pub use node::Control;
pub use run::run;
pub use scenario::{ClientPlan, Crowd, Fault, FaultKind, IsTimed, Scenario, Step, Verb};

use crate::home::Protocol;
use crate::sweep::{Family, Tally, caught};
use farrow_control::map::CommitKind;
use farrow_fabric_sim::{Choices, CostModel, Grain, Options, Pace, Point, Seed, World};
use farrow_protocol::Event;

/// The family of runs of whole clusters under one commit protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The commit protocol.
    pub commit: CommitKind,
}

impl Whole {
    /// The world of a seed; with `record` it keeps the lines of its trace.
    pub fn world(seed: u64, record: bool) -> (World, IsTimed) {
        let (options, is_timed) = options(seed, record);
        (World::new(options, Seed::new(seed)), is_timed)
    }

    /// Runs a seed; the world that is left, with what happened if that is to be recorded, and what an oracle said.
    pub fn run_seed(&self, seed: u64, record: bool) -> (World, Result<Tally, String>) {
        let (world, is_timed) = Whole::world(seed, record);
        let outcome = caught(|| run(&world, &Scenario::draw(&world, self.commit, is_timed)));
        (world, outcome)
    }
}

impl Family for Whole {
    fn name(&self) -> String {
        format!("whole {}", self.commit)
    }

    fn run(&self, seed: u64) -> Tally {
        let (world, is_timed) = Whole::world(seed, false);
        let scenario = Scenario::draw(&world, self.commit, is_timed);
        run(&world, &scenario)
    }

    fn paths(&self) -> Vec<&'static str> {
        let protocol = Protocol::ALL.into_iter().find(|p| p.commit() == self.commit);
        let protocol = protocol.expect("every commit protocol is simulated");
        // Four copies are needed for a majority that is not all: homes have at most three here, and `home` has them.
        // The client library does not renew views yet.
        let is_here = |e: &&Event| protocol.has_path(**e) && **e != Event::SnapshotRule2 && !e.is_of_views();
        let events = Event::ALL.iter().filter(is_here).map(|e| e.label());
        events.chain(probes::ERRORS).collect()
    }
}

/// How the world of a seed behaves, and whether its time means something.
fn options(seed: u64, record: bool) -> (Options, IsTimed) {
    let mut choices = Seed::new(!seed);
    let mut of = |count: u64| choices.below(count, Point::Scenario);
    let grain = [Grain::Whole, Grain::Pieces, Grain::Pieces][of(3) as usize];
    let pace = match of(5) {
        0 => Pace::Even,
        1 | 2 => Pace::Skewed,
        _ => {
            let jitter_ns = [200, 5_000, 50_000][of(3) as usize];
            Pace::Timed(CostModel { jitter_ns, ..CostModel::CONNECTX3 })
        }
    };
    let is_timed = IsTimed(matches!(pace, Pace::Timed(_)));
    (Options { grain, pace, record }, is_timed)
}
