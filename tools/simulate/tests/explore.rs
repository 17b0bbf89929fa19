//! Every schedule of the small scopes, as far as a plain test goes.

use farrow_simulate::home::{Protocol, Scope};
use farrow_simulate::{Ended, Explore};
use std::time::Duration;

fn search(protocol: Protocol, name: &str, seconds: u64) -> Ended {
    let scope = Scope::named(protocol, name).expect("a scope of this protocol");
    let explore = Explore { most: Duration::from_secs(seconds), ..Explore::all_of(protocol, scope) };
    let explored = explore.run(|_, _| {});
    println!(
        "{} {name}: {:?}: {} scenarios, {} schedules and {} pruned, {} steps ({} in the longest), {} histories, {:.0} runs/s",
        protocol.name(),
        explored.ended,
        explored.scenarios,
        explored.schedules,
        explored.pruned,
        explored.steps,
        explored.longest,
        explored.histories,
        (explored.schedules + explored.pruned) as f64 / explored.elapsed.as_secs_f64()
    );
    assert_eq!(explored.found, None);
    explored.ended
}

#[test]
fn colocated() {
    for scope in Scope::all(Protocol::Colocated) {
        search(Protocol::Colocated, scope.name, 20);
    }
}

#[test]
fn snapshot() {
    for scope in Scope::all(Protocol::Snapshot) {
        search(Protocol::Snapshot, scope.name, 20);
    }
}
