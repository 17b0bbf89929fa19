//! The small scopes, as far as a plain test goes: the smallest in full, all of them with few delays.
//! `FARROW_SIM_EXPLORE=600` gives each search so many seconds, and searches all of them in full.

use farrow_simulate::home::{Protocol, Scope};
use farrow_simulate::{Ended, Explore};
use std::time::Duration;

/// Schedules of one search in a plain `cargo test`.
const MOST_SCHEDULES: u64 = 60_000;

fn seconds() -> Option<u64> {
    let text = std::env::var("FARROW_SIM_EXPLORE").ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("FARROW_SIM_EXPLORE={text} is not a number of seconds")))
}

fn search(explore: &Explore) -> Ended {
    let explored = explore.run(|_, _| {});
    println!(
        "{} {}: {:?}: {} scenarios, {} schedules and {} pruned, {} steps, at most {} in one, {} histories, {:.0} runs/s",
        explore.protocol.name(),
        explore.scope.name,
        explored.ended,
        explored.scenarios,
        explored.schedules,
        explored.pruned,
        explored.steps,
        explored.longest,
        explored.histories,
        (explored.schedules + explored.pruned) as f64 / explored.elapsed.as_secs_f64()
    );
    if let Some(case) = explored.found {
        panic!("{}\n{}", case.to_text(), farrow_simulate::timeline::timeline(&case));
    }
    explored.ended
}

/// Every schedule of every scenario, for a while where that is too much.
fn in_full(protocol: Protocol) {
    // Without a reduction "in full" is out of reach; delays bound those.
    for scope in Scope::all(protocol).into_iter().filter(|scope| !scope.has_coordinator()) {
        let is_small = scope.name == "pairs-2";
        let all = Explore::all_of(protocol, scope);
        let ended = match seconds() {
            Some(seconds) => search(&Explore { most: Duration::from_secs(seconds), ..all }),
            None if is_small => search(&all),
            None => search(&Explore { most_schedules: MOST_SCHEDULES / 4, ..all }),
        };
        let is_all = matches!(ended, Ended::Exhausted | Ended::ExhaustedWithinTimers);
        assert!(is_all || !is_small || seconds().is_some(), "{ended:?}");
    }
}

/// Schedules in which each client runs as far as it can, but for one delay or two.
fn with_delays(protocol: Protocol) {
    for scope in Scope::all(protocol) {
        for delays in 0..=2 {
            let explore = Explore { delays: Some(delays), ..Explore::all_of(protocol, scope.clone()) };
            let ended = search(&Explore { most_schedules: MOST_SCHEDULES, ..explore });
            assert!(delays > 0 || ended == Ended::Bounded(0), "{ended:?}");
            if ended != Ended::Bounded(delays) {
                break;
            }
        }
    }
}

#[test]
fn colocated_in_full() {
    in_full(Protocol::Colocated);
}

#[test]
fn colocated_with_few_delays() {
    with_delays(Protocol::Colocated);
}

#[test]
fn snapshot_in_full() {
    in_full(Protocol::Snapshot);
}

#[test]
fn snapshot_with_few_delays() {
    with_delays(Protocol::Snapshot);
}
