//! Faults: what is left of a client that stops, and of a link that is lost.

use farrow_fabric::{Chain, Effect, Fabric, Link, Why};
use farrow_fabric_sim::{Grain, Options, Pace, Seed, World};
use farrow_layout::{NodeId, RemoteAddr};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

const NODE: NodeId = NodeId(0);

fn world(seed: u64) -> World {
    let world = World::new(Options { grain: Grain::Words, pace: Pace::Even, record: false }, Seed::new(seed));
    world.node(4096);
    world
}

/// Four words in one chain, by four verbs.
fn four() -> Chain {
    (0..4).fold(Chain::new(), |chain, i| chain.write_word(RemoteAddr(8 * i), i + 1))
}

fn prefix(world: &World) -> usize {
    let memory = world.memory(NODE);
    let words: Vec<u64> = (0..4).map(|i| memory.word(RemoteAddr(8 * i))).collect();
    let count = words.iter().filter(|w| **w != 0).count();
    assert!((0..4).all(|i| words[i] == if i < count { i as u64 + 1 } else { 0 }), "no prefix: {words:?}");
    count
}

#[test]
fn of_a_client_that_stops_any_prefix_lands() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let world = world(seed);
        let fabric = world.fabric(1 << 20);
        let link = fabric.link(NODE);
        let task = world.spawn(&fabric, async move {
            let _ = link.post(four()).await;
            panic!("it was stopped before");
        });
        assert!(world.step());
        world.stop(task);
        assert!(world.has_ended(task));
        assert!(world.run(1000));
        seen.insert(prefix(&world));
    }
    assert_eq!(seen, (0..=4).collect());
}

#[test]
fn of_a_lost_link_any_prefix_lands_late_and_the_client_is_told_maybe() {
    let (mut seen, mut late) = (BTreeSet::new(), false);
    for seed in 0..200 {
        let world = world(seed);
        let fabric = world.fabric(1 << 20);
        let (link, number) = {
            let link = fabric.link(NODE);
            let number = link.number();
            (link, number)
        };
        let told = Rc::new(Cell::new(None));
        let tell = told.clone();
        world.spawn(&fabric, async move { tell.set(Some(link.post(four()).await.expect_err("lost"))) });
        assert!(world.step());
        world.lose_link(number);
        let mut at_answer = None;
        while world.step() {
            if told.get().is_some() && at_answer.is_none() {
                at_answer = Some(prefix(&world));
            }
        }
        let error = told.get().expect("the client is told");
        assert_eq!(error.why, Why::PeerLost);
        let landed = prefix(&world);
        assert!(
            landed == 0 || error.effect == Effect::Maybe,
            "{landed} verbs landed of a chain without effect"
        );
        late |= at_answer.is_some_and(|then| then < landed);
        seen.insert(landed);
    }
    assert_eq!(seen, (0..=4).collect());
    assert!(late, "no verb landed after its client was told");
}

#[test]
fn a_fence_lets_nothing_through() {
    for seed in 0..200 {
        let world = world(seed);
        let fabric = world.fabric(1 << 20);
        let link = fabric.link(NODE);
        let number = link.number();
        world.spawn(&fabric, async move { drop(link.post(four()).await) });
        for _ in 0..=seed % 5 {
            world.step();
        }
        world.lose_link(number);
        world.fence(NODE);
        let then = prefix(&world);
        assert!(world.run(1000));
        assert_eq!(prefix(&world), then);
    }
}

#[test]
fn a_paused_client_stands_still_and_goes_on() {
    let world = world(1);
    let fabric = world.fabric(1 << 20);
    let link = fabric.link(NODE);
    let task = world.spawn(&fabric, async move { drop(link.post(four()).await.expect("a sound link")) });
    world.step();
    world.pause(task);
    assert!(world.run(1000));
    assert_eq!(prefix(&world), 4, "what it posted goes on");
    assert!(!world.has_ended(task));
    world.resume(task);
    assert!(world.run(1000));
    assert!(world.has_ended(task));
}

#[test]
fn a_torn_write_is_seen_half_done() {
    let mut torn = 0;
    for seed in 0..100 {
        let world = world(seed);
        let fabric = world.fabric(1 << 20);
        let (a, b) = (fabric.link(NODE), fabric.link(NODE));
        let buffers = fabric.buffers().clone();
        let seen = Rc::new(Cell::new(0));
        let see = seen.clone();
        world.spawn(&fabric, async move {
            let (out, back) = (buffers.take(64).unwrap(), buffers.take(64).unwrap());
            out.with_mut(|bytes| bytes.fill(1));
            let write = a.post(Chain::new().write(RemoteAddr(0), out.whole()));
            b.post(Chain::new().read(RemoteAddr(0), back.whole())).await.expect("a sound link");
            write.await.expect("a sound link");
            see.set(back.with(|bytes| bytes.iter().filter(|x| **x == 1).count()));
        });
        assert!(world.run(1000));
        assert_eq!(seen.get() % 8, 0, "a word is torn");
        torn += usize::from(!matches!(seen.get(), 0 | 64));
    }
    assert!(torn > 20, "{torn} of 100");
}
