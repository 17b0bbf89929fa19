//! One home at random, as far as a plain test goes: `FARROW_SIM_SEEDS=1000000` runs so many seeds instead.

mod common;

use common::sweep;
use farrow_simulate::home::Protocol;

/// Seeds of a plain `cargo test`: half a minute a protocol on one core.
const SEEDS: u64 = 60_000;

#[test]
fn colocated() {
    sweep(Protocol::Colocated, SEEDS);
}

#[test]
fn snapshot() {
    sweep(Protocol::Snapshot, SEEDS);
}
