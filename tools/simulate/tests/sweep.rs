//! The search at random, as far as a plain test goes: `FARROW_SIM_SEEDS=100000` runs so many seeds instead.

use farrow_simulate::Sweep;
use farrow_simulate::home::Protocol;

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 4_000;

#[test]
fn colocated() {
    sweep(Protocol::Colocated);
}

#[test]
fn snapshot() {
    sweep(Protocol::Snapshot);
}

fn seeds() -> u64 {
    let Ok(text) = std::env::var("FARROW_SIM_SEEDS") else { return SEEDS };
    text.parse().unwrap_or_else(|_| panic!("FARROW_SIM_SEEDS={text} is not a number"))
}

/// Fails when an oracle objects to a seed, and when a rare path was never taken.
fn sweep(protocol: Protocol) {
    let sweep = Sweep { threads: 1, ..Sweep::of(protocol, seeds()) };
    let swept = sweep.run(|_| {});
    let name = protocol.name();
    println!(
        "{name}: {} histories, {} operations ({} unknown, {} refused for want of a slot), {} events, {:.0} histories/s",
        swept.histories,
        swept.operations,
        swept.unknown,
        swept.failed_operations,
        swept.events,
        swept.histories as f64 / swept.elapsed.as_secs_f64()
    );
    println!("{:?}", swept.seen);
    assert!(swept.failed.is_empty(), "{name}: {:#?}", swept.failed);
    let never = swept.never_seen(protocol);
    assert!(never.is_empty(), "{name}: no seed took these paths: {never:?}");
}
