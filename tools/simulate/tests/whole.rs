//! Whole clusters at random: `FARROW_SIM_SEEDS=100000` runs so many seeds instead, `FARROW_SIM_SEED=7` that one alone and
//! prints its trace when an oracle objects.

mod common;

use common::{number, sweep};
use farrow_control::map::CommitKind;
use farrow_simulate::Whole;

/// Seeds of a plain `cargo test`: under a minute a protocol on one core.
const SEEDS: u64 = 20_000;

#[test]
fn colocated() {
    run(CommitKind::Colocated);
}

#[test]
fn snapshot() {
    run(CommitKind::Snapshot);
}

fn run(commit: CommitKind) {
    match number("FARROW_SIM_SEED") {
        Some(seed) => trace(commit, seed),
        None => sweep(Whole { commit }, SEEDS),
    }
}

fn trace(commit: CommitKind, seed: u64) {
    let (world, outcome) = Whole { commit }.run_seed(seed, true);
    if let Err(why) = outcome {
        for line in world.trace().lines() {
            println!("{line}");
        }
        panic!("seed {seed}: {why}");
    }
}
