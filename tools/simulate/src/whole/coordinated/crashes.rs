//! Clients that crash, one after the other, in the middle of their calls: what they leave behind is found and given back.

use super::scenario::{Fault, FaultKind, LEASE, Plan, Scenario, When, step};
use super::{Coordinated, run};
use crate::sweep::{Family, Tally, caught};
use farrow_control::map::CommitKind;
use farrow_fabric_sim::World;
use std::time::Duration;

/// The family of runs in which most clients crash, with and without nodes, links and coordinators that are lost meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashes;

/// Events after the beginning of a call within which its client crashes: a PUT takes fewer, with what follows its answer.
const MOST_EVENTS: u64 = 60;
/// How long clients work, in leases.
const WORK_LEASES: u64 = 12;

impl Crashes {
    /// Runs a seed; the world that is left, with what happened if that is to be recorded, and what an oracle said.
    pub fn run_seed(&self, seed: u64, record: bool) -> (World, Result<Tally, String>) {
        let world = Coordinated::world(seed, record);
        let outcome = caught(|| run(&world, &draw(&world)));
        (world, outcome)
    }
}

impl Family for Crashes {
    fn name(&self) -> String {
        "crashes".into()
    }

    fn run(&self, seed: u64) -> Tally {
        let world = Coordinated::world(seed, false);
        run(&world, &draw(&world))
    }

    fn paths(&self) -> Vec<&'static str> {
        vec!["clients_crashed", "clients_recovered", "nodes_lost"]
    }
}

/// A scenario at random, with more clients, of which most crash.
fn draw(world: &World) -> Scenario {
    let pick = |count: u64| world.draw(count);
    let mut scenario = Scenario::draw(world, CommitKind::Colocated);
    scenario.is_reckless = false;
    if pick(2) == 0 {
        scenario.faults.clear();
    }
    let keys = scenario.keys.len() as u64;
    let count = scenario.clients.len() + 3 + pick(4) as usize;
    scenario.clients = (0..count)
        .map(|_| {
            let steps = 2 + pick(8);
            let most = 2 * WORK_LEASES * LEASE / steps;
            Plan {
                steps: (0..steps).map(|_| step(world, keys, most)).collect(),
                deadline: Duration::MAX,
                cache_entries: 16,
                is_undemanding: pick(2) == 0,
            }
        })
        .collect();
    for (client, plan) in scenario.clients.iter().enumerate() {
        if pick(8) != 0 {
            let when = When::Step(client, 1 + pick(plan.steps.len() as u64), pick(MOST_EVENTS));
            scenario.faults.push(Fault { when, kind: FaultKind::StopClient(client) });
        }
    }
    scenario
}
