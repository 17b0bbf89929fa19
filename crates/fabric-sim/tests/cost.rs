//! The cost model by itself: what runs in virtual time take is what the arithmetic says.

use farrow_fabric::{Chain, Fabric, Link};
use farrow_fabric_sim::{CostModel, Grain, NicUsage, Options, Pace, Seed, SimFabric, SimLink, World};
use farrow_layout::{NodeId, RemoteAddr};
use std::cell::Cell;
use std::rc::Rc;

const NIC: CostModel = CostModel { jitter_ns: 0, ..CostModel::CONNECTX3 };
const NODE: NodeId = NodeId(0);
const SECTION: u64 = 8 << 10;

fn world(cost: CostModel) -> World {
    let world =
        World::new(Options { grain: Grain::Whole, pace: Pace::Timed(cost), record: false }, Seed::new(1));
    world.node(1 << 20);
    world
}

/// What each of `count` clients posts, over and over.
type Post = fn(&SimFabric, RemoteAddr) -> Chain;

fn read(len: usize, fabric: &SimFabric, at: RemoteAddr) -> Chain {
    Chain::new().read(at, fabric.buffers().take(len).unwrap().whole())
}

/// Runs `count` clients for `ns` of virtual time: nanoseconds a chain, and what it took of the NIC.
fn saturate(world: &World, count: u64, ns: u64, post: Post) -> (f64, NicUsage) {
    let done = Rc::new(Cell::new(0));
    for client in 0..count {
        let (fabric, done) = (world.fabric(1 << 20), done.clone());
        let link: SimLink = fabric.link(NODE);
        world.spawn(&fabric.clone(), async move {
            loop {
                link.post(post(&fabric, RemoteAddr(client * SECTION))).await.unwrap();
                done.set(done.get() + 1);
            }
        });
    }
    while world.now().0 < ns {
        assert!(world.step());
    }
    (ns as f64 / f64::from(done.get()), world.nic_usage(NODE))
}

#[track_caller]
fn assert_close(measured: f64, expected: f64) {
    assert!((measured / expected - 1.0).abs() < 0.02, "{measured} where {expected} is expected");
}

#[test]
fn one_client_waits_for_the_wire_the_engine_and_the_bytes() {
    let (latency, _) = saturate(&world(NIC), 1, 10_000_000, |f, at| read(4096, f, at));
    assert_close(latency, 2.0 * 900.0 + 46.0 + 4096.0 * 0.168);
    let (latency, _) = saturate(&world(NIC), 1, 10_000_000, |f, at| {
        Chain::new().write(at, f.buffers().take(1024).unwrap().whole()).compare_swap(at, 0, 0)
    });
    assert_close(latency, 2.0 * 900.0 + 1024.0 * 0.168 + 46.0 + 724.0);
}

#[test]
fn many_clients_are_bounded_by_the_bytes_that_leave() {
    let (each, usage) = saturate(&world(NIC), 64, 10_000_000, |f, at| read(4096, f, at));
    assert_close(each, 4096.0 * 0.168);
    assert_close(usage.outward_ns as f64, 10e6);
    assert_eq!((usage.inward_ns, usage.atomics_ns), (0, 0));
}

#[test]
fn bytes_that_arrive_and_bytes_that_leave_do_not_wait_for_each_other() {
    let one_of_both: Post = |f, at| match at.0 / SECTION % 2 {
        0 => read(4096, f, at),
        _ => Chain::new().write(at, f.buffers().take(4096).unwrap().whole()),
    };
    let (each, usage) = saturate(&world(NIC), 64, 10_000_000, one_of_both);
    assert_close(each, 4096.0 * 0.168 / 2.0);
    assert_close(usage.outward_ns as f64, 10e6);
    assert_close(usage.inward_ns as f64, 10e6);
}

#[test]
fn many_clients_are_bounded_by_the_message_rate() {
    let (each, usage) =
        saturate(&world(NIC), 100, 5_000_000, |_, at| Chain::new().read_word(at).read_word(at));
    assert_close(each, 2.0 * 46.0);
    assert_close(usage.engine_ns as f64, 5e6);
}

#[test]
fn an_atomic_holds_up_the_verbs_behind_it() {
    let (each, usage) =
        saturate(&world(NIC), 100, 5_000_000, |_, at| Chain::new().fetch_add(at, 1).read_word(at));
    assert_close(each, 724.0 + 46.0);
    assert_close(usage.atomics_ns as f64, 5e6 * 724.0 / 770.0);
}

#[test]
fn a_client_is_bounded_by_its_processor() {
    let cost = CostModel { burst_ns: 7400, post_ns: 1600, ..NIC };
    // One client, ten tasks: what one posts in one go is one burst, and nobody else's.
    let world = world(cost);
    let (fabric, done) = (world.fabric(1 << 20), Rc::new(Cell::new(0)));
    for _ in 0..10 {
        let (links, done) = ([fabric.link(NODE), fabric.link(NODE)], done.clone());
        world.spawn(&fabric, async move {
            loop {
                let posted = links.each_ref().map(|l| l.post(Chain::new().read_word(RemoteAddr(0))));
                for answer in posted {
                    answer.await.unwrap();
                }
                done.set(done.get() + 1);
            }
        });
    }
    while world.now().0 < 20_000_000 {
        world.step();
    }
    assert_close(20e6 / f64::from(done.get()), 7400.0 + 2.0 * 1600.0);
    assert_close(world.processor_ns(&fabric) as f64, 20e6);
}

#[test]
fn a_slow_node_is_slow() {
    let world = world(NIC);
    world.set_cost(NODE, CostModel { one_way_ns: 5000, ..NIC });
    let (latency, _) = saturate(&world, 1, 10_000_000, |_, at| Chain::new().read_word(at));
    assert_close(latency, 10_046.0 + 8.0 * 0.168);
}

#[test]
fn jitter_is_within_its_bound_and_does_not_reorder_a_link() {
    let world = world(CostModel { jitter_ns: 500, ..NIC });
    let fabric = world.fabric(1 << 20);
    let link = fabric.link(NODE);
    world.spawn(&fabric.clone(), async move {
        for round in 0..500u64 {
            let begin = fabric.now();
            let posted: Vec<_> =
                (0..4).map(|_| link.post(Chain::new().fetch_add(RemoteAddr(0), 1))).collect();
            for (i, answer) in posted.into_iter().enumerate() {
                assert_eq!(answer.await.unwrap()[0], round * 4 + i as u64);
            }
            let took = fabric.now().since(begin);
            assert!((1800 + 4 * 724..=2800 + 4 * 725).contains(&took), "{took}");
        }
    });
    assert!(world.run(1_000_000));
}
