//! The search: the real protocol code on whole homes, under many schedules, judged by every oracle there is.
//!
//! `FARROW_SIM_SEEDS=100000` runs so many seeds instead of the few of a plain test; `FARROW_SIM_SEED=17` runs one and
//! prints its trace.

mod client;
mod cluster;
mod keys;
mod run;
mod scenario;
mod shadow;
mod structure;

use farrow_fabric_sim::{Seed, World};
use farrow_protocol::{Colocated, Commit, Event, Snapshot};
use run::Report;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 4_000;
/// Seeds that may fail before a sweep gives up: a few more than one often show what they have in common.
const MOST_FAILED: usize = 8;

#[test]
fn colocated() {
    let rare = |e: &Event| !e.label().starts_with("snapshot");
    sweep(Colocated, 3, true, rare);
}

#[test]
fn snapshot() {
    // What only `colocated` does: it repairs and helps.
    let not_here = [Event::Helped, Event::RepairedBackup, Event::BackupAhead];
    sweep(Snapshot, 4, false, |e| !not_here.contains(e));
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Runs many seeds; fails on the first that an oracle objects to, and when a rare path was never taken.
fn sweep<C: Commit>(commit: C, max_copies: u64, may_stop: bool, must_be_seen: impl Fn(&Event) -> bool) {
    let one = number("FARROW_SIM_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number("FARROW_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let begin = Instant::now();
    let mut total = Report::default();
    let mut failed = Vec::new();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let world = World::new(scenario::options(seed, one.is_some()), Seed::new(seed));
        let outcome = catch_unwind(AssertUnwindSafe(|| run::run(&world, commit, max_copies, may_stop)));
        if one.is_some() {
            for line in world.trace().lines() {
                println!("{line}");
            }
        }
        let Ok(report) = outcome else {
            println!("{}: seed {seed} fails", C::NAME);
            failed.push(seed);
            if failed.len() == MOST_FAILED {
                break;
            }
            continue;
        };
        total.operations += report.operations;
        total.unknown += report.unknown;
        total.events += report.events;
        total.failed += report.failed;
        for (event, times) in report.seen {
            *seen.entry(event.label()).or_default() += times;
        }
    }
    assert!(
        failed.is_empty(),
        "{}: seeds {failed:?} fail, as said above; FARROW_SIM_SEED={} shows the trace of the first",
        C::NAME,
        failed[0]
    );
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{}: {count} histories, {} operations ({} unknown, {} refused for want of a slot), {} events, {:.0} histories/s",
        C::NAME,
        total.operations,
        total.unknown,
        total.failed,
        total.events,
        count as f64 / seconds
    );
    println!("{seen:?}");
    if one.is_none() {
        let never: Vec<_> =
            Event::ALL.iter().filter(|e| must_be_seen(e) && !seen.contains_key(e.label())).collect();
        assert!(never.is_empty(), "no seed took these paths: {never:?}");
    }
}
