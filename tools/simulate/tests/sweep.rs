//! One home at random, as far as a plain test goes: `FARROW_SIM_SEEDS=1000000` runs so many seeds instead.

mod common;

use common::{number, sweep};
use farrow_simulate::home::{self, Protocol, Restored};

/// Seeds of a plain `cargo test`: half a minute a protocol on one core.
const SEEDS: u64 = 60_000;

/// These runs are longer, since memories are copied in them.
const RESTORED: u64 = 5_000;

#[test]
fn colocated() {
    sweep(Protocol::Colocated, SEEDS);
}

#[test]
fn snapshot() {
    sweep(Protocol::Snapshot, SEEDS);
}

/// With `FARROW_SIM_SEED=7` that one alone, and its trace.
#[test]
fn restored() {
    let Some(seed) = number("FARROW_SIM_SEED") else { return sweep(Restored, RESTORED) };
    let world = home::world(seed, true);
    let outcome = farrow_simulate::sweep::caught(|| Restored.run_drawn(&world));
    if let Err(said) = outcome {
        world.trace().lines().iter().for_each(|line| println!("{line}"));
        panic!("seed {seed}: {said}");
    }
}
