//! What sweeps in tests have in common.

use farrow_simulate::{Family, Sweep};
use std::collections::BTreeMap;

/// The number in an environment variable, if there is one.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Sweeps over `seeds` seeds, or as many as `FARROW_SIM_SEEDS` says. Fails when an oracle objects to one, and when a rare path
/// was never taken.
pub fn sweep<F: Family>(family: F, seeds: u64) {
    swept(family, seeds);
}

/// As [`sweep`]. Answers how often each path was taken.
pub fn swept<F: Family>(family: F, seeds: u64) -> BTreeMap<String, u64> {
    let count = number("FARROW_SIM_SEEDS").unwrap_or(seeds);
    let sweep = Sweep { threads: 1, ..Sweep::of(family, count) };
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
    swept.seen
}
