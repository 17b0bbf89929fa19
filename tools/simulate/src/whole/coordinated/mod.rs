//! A coordinated cluster in one world: the product's coordinator, nodes, agents and clients, as they are, and everything that can go
//! wrong between them.
//!
//! ```text
//!  run        forms · clients and faults · everything heals · what is left
//!   ├ office    Coordinator of farrow-coordinator, its store, answers that wait
//!   ├ machine   lives of nodes one after the other: heartbeat, keeper, two agents (field)
//!   │   └ life    Ledger, Promises, Segments of farrow-node; lease, links, requests
//!   ├ process   Routes and Space of farrow-client: watches, gets ids, makes links       worker: its calls
//!   └ net       messages that take a while and may be cut       faults · oracle · clock
//! ```

mod bell;
mod clock;
mod cluster;
mod crashes;
mod faults;
mod field;
mod life;
mod machine;
mod net;
mod office;
mod oracle;
mod orders;
mod process;
mod run;
mod scenario;
mod session;
mod worker;

pub use crashes::Crashes;
pub use net::Party;
pub use run::run;
pub use scenario::{Fault, FaultKind, Mark, Plan, Scenario, Step, Verb, When};

use crate::sweep::{Family, Tally, caught};
use farrow_control::map::CommitKind;
use farrow_fabric_sim::{CostModel, Grain, Options, Pace, Seed, World};

/// The family of runs of coordinated clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordinated {
    /// The commit protocol.
    pub commit: CommitKind,
}

impl Coordinated {
    /// The world of a seed; with `record` it keeps the lines of its trace. Leases need time that means something.
    pub fn world(seed: u64, record: bool) -> World {
        let jitter_ns = [200, 20_000, 500_000][(seed % 3) as usize];
        let pace = Pace::Timed(CostModel { jitter_ns, ..CostModel::CONNECTX3 });
        World::new(Options { grain: Grain::Pieces, pace, record }, Seed::new(seed))
    }

    /// Runs a seed; the world that is left, with what happened if that is to be recorded, and what an oracle said.
    pub fn run_seed(&self, seed: u64, record: bool) -> (World, Result<Tally, String>) {
        let world = Coordinated::world(seed, record);
        let outcome = caught(|| run(&world, &Scenario::draw(&world, self.commit)));
        (world, outcome)
    }
}

impl Family for Coordinated {
    fn name(&self) -> String {
        format!("coordinated {}", self.commit)
    }

    fn run(&self, seed: u64) -> Tally {
        let world = Coordinated::world(seed, false);
        run(&world, &Scenario::draw(&world, self.commit))
    }

    fn paths(&self) -> Vec<&'static str> {
        vec![
            "nodes_lost",
            "map_waits",
            "links_made",
            "reports",
            "agent_lost_at_close",
            "agent_lost_at_fence",
            "agent_lost_at_link",
            "agent_lost_at_verbs",
            "agent_lost_at_prepare",
            "agent_lost_at_publish",
            "agent_lost_at_evict",
            "agent_lost_at_seal",
            "agent_lost_at_completed",
            "agent_cut_at_publish",
            "coordinator_lost_at_storing",
            "coordinator_lost_at_stored",
        ]
    }
}
