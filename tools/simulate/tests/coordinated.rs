//! Coordinated clusters at random: `FARROW_SIM_SEEDS=100000` runs so many seeds instead, `FARROW_SIM_SEED=7` that one alone and
//! prints its trace when an oracle objects.

mod common;

use common::{number, sweep, swept};
use farrow_control::map::CommitKind;
use farrow_fabric_sim::World;
use farrow_simulate::{Coordinated, Crashes, Tally};

/// Seeds of a plain `cargo test`: under a minute on one busy core.
const SEEDS: u64 = 6000;
/// The same, of runs in which most clients crash.
const CRASH_SEEDS: u64 = 800;
/// Clients that crash in a plain `cargo test`, at least.
const CRASHES: u64 = 1000;

#[test]
fn colocated() {
    let family = Coordinated { commit: CommitKind::Colocated };
    match number("FARROW_SIM_SEED") {
        Some(seed) => trace(seed, |seed| family.run_seed(seed, true)),
        None => sweep(family, SEEDS),
    }
}

#[test]
fn a_thousand_clients_crash_and_every_extent_is_accounted_for() {
    let Some(seed) = number("FARROW_SIM_SEED") else {
        let seen = swept(Crashes, CRASH_SEEDS);
        let crashed = seen["clients_crashed"];
        println!("{crashed} clients crashed, and no extent has leaked");
        assert!(crashed >= CRASHES || number("FARROW_SIM_SEEDS").is_some(), "only {crashed} clients crashed");
        return;
    };
    trace(seed, |seed| Crashes.run_seed(seed, true));
}

fn trace(seed: u64, run: impl Fn(u64) -> (World, Result<Tally, String>)) {
    let (world, outcome) = run(seed);
    if let Err(why) = outcome {
        for line in world.trace().lines() {
            println!("{line}");
        }
        panic!("seed {seed}: {why}");
    }
}
