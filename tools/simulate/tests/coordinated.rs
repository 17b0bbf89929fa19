//! Coordinated clusters at random: `FARROW_SIM_SEEDS=100000` runs so many seeds instead, `FARROW_SIM_SEED=7` that one alone and
//! prints its trace when an oracle objects.

mod common;

use common::{number, sweep};
use farrow_control::map::CommitKind;
use farrow_simulate::Coordinated;

/// Seeds of a plain `cargo test`: under a minute on one busy core.
const SEEDS: u64 = 200;

#[test]
fn colocated() {
    run(CommitKind::Colocated);
}

fn run(commit: CommitKind) {
    match number("FARROW_SIM_SEED") {
        Some(seed) => trace(commit, seed),
        None => sweep(Coordinated { commit }, SEEDS),
    }
}

fn trace(commit: CommitKind, seed: u64) {
    let (world, outcome) = Coordinated { commit }.run_seed(seed, true);
    if let Err(why) = outcome {
        for line in world.trace().lines() {
            println!("{line}");
        }
        panic!("seed {seed}: {why}");
    }
}
