//! What whole clusters have found, as scenarios of their own.

use farrow_control::map::{ClusterMap, CommitKind, Shape};
use farrow_fabric_sim::{CostModel, Grain, Options, Pace, Seed, World};
use farrow_layout::{NodeId, Policy};
use farrow_simulate::whole::{ClientPlan, Control, Fault, FaultKind, Scenario, Step, Verb, run};
use std::time::Duration;

/// More than a client may be granted and not use.
const PUTS: usize = 40;

/// One client that puts one key again and again, with two copies, on nodes with far more extents than it puts values.
fn puts(deadline: Duration, faults: Vec<Fault>) -> Scenario {
    let map = ClusterMap::of(&Shape {
        name: "regression".into(),
        commit: CommitKind::Colocated,
        policy: Policy::Replicate { copies: 2 },
        nodes: (0..2).map(|i| format!("node{i}:1")).collect(),
        homes_per_node: 1,
        max_keys: 1,
        memory_len: 1 << 20,
        block_len: 4 << 10,
        extent_len: 1 << 10,
    })
    .expect("a small cluster can be laid out");
    let step = Step { verb: Verb::Put, keys: vec![0], len: 8 };
    let client = ClientPlan {
        steps: vec![step; PUTS],
        cache_entries: 0,
        deadline,
        buffer_limit: 64 << 20,
        lingers: true,
    };
    Scenario {
        map,
        keys: vec![b"key".to_vec()],
        crowd: None,
        present: Vec::new(),
        clients: vec![client],
        control: Control { way_ns: 20_000, slow: None },
        slow: None,
        faults,
    }
}

fn timed(seed: u64) -> World {
    let pace = Pace::Timed(CostModel::CONNECTX3);
    World::new(Options { grain: Grain::Whole, pace, record: false }, Seed::new(seed))
}

/// Each of them asked for an extent, which was sealed empty when it came: the home filled up with nothing.
#[test]
fn deadlines_that_pass_while_an_extent_is_asked_for_cost_none() {
    for seed in 0..20 {
        let tally = run(&timed(seed), &puts(Duration::from_micros(2), Vec::new()));
        assert!(tally.seen.contains_key("timed_out"), "seed {seed}: no deadline passed");
    }
}

/// Each of them was granted an extent that could not be announced, and was forgotten, open.
#[test]
fn a_backup_out_of_reach_costs_one_extent_and_not_one_a_put() {
    for seed in 0..20 {
        for node in 0..2 {
            let lost = Fault { after: 1, kind: FaultKind::LoseLink(0, NodeId(node)) };
            run(&timed(seed), &puts(Duration::MAX, vec![lost]));
        }
    }
}
