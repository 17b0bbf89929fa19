//! One seed is one run: two worlds of a seed have the same events at the same times.

use farrow_fabric::{Chain, Fabric, Link, join_all};
use farrow_fabric_sim::{CostModel, Grain, Options, Pace, Recording, Replay, Seed, TraceLine, World};
use farrow_layout::{NodeId, RemoteAddr};
use std::time::Duration;

/// Three clients that post torn transfers and atomics on two nodes, sleep, and draw; one is stopped, one link is lost.
fn busy(world: &World) -> u64 {
    let nodes = [world.node(4096), world.node(4096)];
    let tasks: Vec<_> = (0..3u64)
        .map(|me| {
            let fabric = world.fabric(1 << 20);
            let links = nodes.map(|n| fabric.link(n));
            world.spawn(&fabric.clone(), async move {
                for round in 0..20 {
                    let buffer = fabric.buffers().take(256).unwrap();
                    buffer.with_mut(|b| b.fill(round * 3 + me as u8));
                    let chain = || {
                        let at = RemoteAddr(fabric.random() % 256 * 8);
                        Chain::new()
                            .write(at, buffer.whole())
                            .fetch_add(RemoteAddr(0), 1)
                            .read_word_pair(RemoteAddr(0))
                    };
                    let posted: Vec<_> = links.iter().map(|l| l.post(chain())).collect();
                    drop(join_all(posted).await);
                    fabric.sleep_until(fabric.now() + Duration::from_nanos(fabric.random() % 100)).await;
                }
            })
        })
        .collect();
    for event in 0.. {
        if event == 300 {
            world.stop(tasks[0]);
            world.lose_link(2);
        }
        if !world.step() {
            break;
        }
    }
    assert!(tasks.into_iter().all(|t| world.has_ended(t)));
    world.trace().hash()
}

fn all_options() -> Vec<Options> {
    let mut all = Vec::new();
    for grain in [Grain::Whole, Grain::Pieces, Grain::Words] {
        for pace in [Pace::Even, Pace::Skewed, Pace::Timed(CostModel::CONNECTX3)] {
            all.push(Options { grain, pace, record: false });
        }
    }
    all
}

#[test]
fn one_seed_is_one_run() {
    for options in all_options() {
        for seed in 0..20 {
            let run = || busy(&World::new(options, Seed::new(seed)));
            assert_eq!(run(), run(), "seed {seed}, {options:?}");
        }
    }
}

#[test]
fn other_seeds_are_other_runs() {
    for options in all_options() {
        let hash = |seed| busy(&World::new(options, Seed::new(seed)));
        let hashes: std::collections::BTreeSet<_> = (0..20).map(hash).collect();
        assert_eq!(hashes.len(), 20, "{options:?}");
    }
}

#[test]
fn a_recorded_run_is_repeated() {
    for options in all_options() {
        let (recording, list) = Recording::new(Seed::new(3));
        let hash = busy(&World::new(options, recording));
        let list = list.borrow().clone();
        assert_eq!(
            busy(&World::new(Options { record: true, ..options }, Replay::new(list))),
            hash,
            "{options:?}"
        );
    }
}

#[test]
fn whatever_a_list_says_is_a_run() {
    for cut in [0, 1, 10, 100] {
        let (recording, list) = Recording::new(Seed::new(3));
        busy(&World::new(Options::default(), recording));
        let mut list = list.borrow().clone();
        list.truncate(cut);
        list.extend([u64::MAX; 10]);
        busy(&World::new(Options::default(), Replay::new(list)));
    }
}

#[test]
fn a_traced_run_names_every_event() {
    let world = World::new(Options { record: true, ..Options::default() }, Seed::new(5));
    busy(&world);
    let trace = world.trace();
    let events = trace.lines().iter().filter(|l| !matches!(l, TraceLine::Note { .. }));
    assert_eq!(events.count() as u64, trace.events());
    assert!(trace.lines().iter().any(|l| l.to_string().contains("Added")));
    assert!(world.memory(NodeId(0)).word(RemoteAddr(0)) > 0);
}
