//! Whole clusters at random: `FARROW_SIM_SEEDS=100000` runs so many seeds instead, `FARROW_SIM_SEED=7` that one alone and
//! prints its trace when an oracle objects.

use farrow_control::map::CommitKind;
use farrow_simulate::{Family, Sweep, Whole};

/// Seeds of a plain `cargo test`: under a minute a protocol on one core.
const SEEDS: u64 = 20_000;

#[test]
fn colocated() {
    sweep(CommitKind::Colocated);
}

#[test]
fn snapshot() {
    sweep(CommitKind::Snapshot);
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Fails when an oracle objects to a seed, and when a rare path was never taken.
fn sweep(commit: CommitKind) {
    if let Some(seed) = number("FARROW_SIM_SEED") {
        return trace(commit, seed);
    }
    let count = number("FARROW_SIM_SEEDS").unwrap_or(SEEDS);
    let sweep = Sweep { threads: 1, ..Sweep::of(Whole { commit }, count) };
    let swept = sweep.run(|_| {});
    let name = sweep.family.name();
    println!(
        "{name}: {} histories, {} operations ({} unknown, {} refused), {} events, {:.0} histories/s",
        swept.histories,
        swept.operations,
        swept.unknown,
        swept.failed_operations,
        swept.events,
        swept.histories as f64 / swept.elapsed.as_secs_f64()
    );
    println!("{:?}", swept.seen);
    assert!(swept.failed.is_empty(), "{name}: {:#?}", swept.failed);
    let never = swept.never_seen(sweep.family);
    assert!(never.is_empty(), "{name}: no seed took these paths: {never:?}");
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
