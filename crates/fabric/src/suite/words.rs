//! F2 and F3: what tears and what does not.

use super::World;
use super::seat::{addr, agent, words};
use crate::{Chain, Fabric};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const AGENTS: u64 = 4;

/// F2.
pub(super) fn words_are_atomic<W: World>(world: &W) {
    adds_are_a_permutation(world, world.rounds(100_000));
    swaps_have_one_winner(world, world.rounds(20_000));
    words_are_whole(world, world.rounds(10_000));
}

fn adds_are_a_permutation<W: World>(world: &W, rounds: u64) {
    const AT: u64 = 64;
    let olds: Arc<Mutex<Vec<u64>>> = Arc::default();
    let arrived = Arc::new(AtomicU64::new(0));
    let run = |_| {
        let (olds, arrived) = (olds.clone(), arrived.clone());
        agent(move |seat| async move {
            seat.assemble(&arrived, AGENTS).await;
            let mut mine = Vec::new();
            for _ in 0..rounds {
                mine.push(seat.ok(Chain::new().fetch_add(addr(AT), 1)).await[0]);
            }
            assert!(mine.is_sorted(), "a link's own FAAs happen in order");
            olds.lock().expect("agents do not panic with it").extend(mine);
        })
    };
    world.run((0..AGENTS).map(run).collect());
    let mut olds = olds.lock().expect("all agents have ended");
    olds.sort_unstable();
    assert!(olds.iter().copied().eq(0..AGENTS * rounds), "an FAA was lost, or happened twice");
}

fn swaps_have_one_winner<W: World>(world: &W, rounds: u64) {
    const AT: u64 = 128;
    let wins = Arc::new(AtomicU64::new(0));
    let arrived = Arc::new(AtomicU64::new(0));
    let run = |_| {
        let (wins, arrived) = (wins.clone(), arrived.clone());
        agent(move |seat| async move {
            seat.assemble(&arrived, AGENTS).await;
            for round in 0..rounds {
                let old = seat.ok(Chain::new().compare_swap(addr(AT), round, round + 1)).await[0];
                assert!(old >= round, "a CAS from {round} found {old}: a swap that was seen is undone");
                if old == round {
                    wins.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    };
    world.run((0..AGENTS).map(run).collect());
    assert_eq!(wins.load(Ordering::SeqCst), rounds, "each round has exactly one winner");
}

/// Words that are rewritten by every kind of verb are read whole by every kind.
fn words_are_whole<W: World>(world: &W, rounds: u64) {
    const AT: u64 = 4096;
    let ended = Arc::new(AtomicU64::new(0));
    let writer = {
        let ended = ended.clone();
        agent(move |seat| async move {
            let images = [seat.pattern(0, 16), seat.pattern(0xff, 16)];
            for i in 0..rounds {
                let (old, new) = if i % 2 == 0 { (0, u64::MAX) } else { (u64::MAX, 0) };
                let image = &images[(i % 2) as usize];
                let chain = match i % 6 {
                    0 | 3 => Chain::new().write_word(addr(AT), new).write_word(addr(AT + 8), new),
                    1 | 4 => Chain::new().compare_swap(addr(AT), old, new).write_word(addr(AT + 8), new),
                    _ => Chain::new().write(addr(AT), image.whole()),
                };
                seat.ok(chain).await;
            }
            ended.store(1, Ordering::SeqCst);
        })
    };
    let reader = |_| {
        let ended = ended.clone();
        agent(move |seat| async move {
            let is_whole = |w: u64| w == 0 || w == u64::MAX;
            while ended.load(Ordering::SeqCst) == 0 {
                let buffer = seat.buffer(16);
                let chain = Chain::new().read_word_pair(addr(AT)).read(addr(AT), buffer.whole());
                let answers = seat.ok(chain).await;
                assert!(answers.iter().all(|&w| is_whole(w)), "a word READ is torn: {answers:x?}");
                buffer.with(|b| assert!(words(b).all(is_whole), "an aligned word of a READ is torn: {b:x?}"));
                seat.breathe().await;
            }
        })
    };
    world.run([writer].into_iter().chain((0..2).map(reader)).collect());
}

/// F3.
pub(super) fn transfers_tear_between_words<W: World>(world: &W) {
    // Both ends lie within words, so that the copies have edges.
    const WRITE: (u64, usize) = (8192 + 5, 4099);
    const READ: (u64, usize) = (8192 + 3, 4105);
    let rounds = world.rounds(3_000);
    let ended = Arc::new(AtomicU64::new(0));
    let writer = |me: u64| {
        let ended = ended.clone();
        agent(move |seat| async move {
            for i in 0..rounds {
                let byte = (2 * i + me) as u8;
                seat.ok(Chain::new().write(addr(WRITE.0), seat.pattern(byte, WRITE.1).whole())).await;
            }
            ended.fetch_add(1, Ordering::SeqCst);
        })
    };
    let reader = |_| {
        let ended = ended.clone();
        agent(move |seat| async move {
            while ended.load(Ordering::SeqCst) < 2 {
                let bytes = seat.read(READ.0, READ.1).await;
                let first_whole = WRITE.0.next_multiple_of(8) - READ.0;
                let whole_words = (WRITE.0 + WRITE.1 as u64 - WRITE.0.next_multiple_of(8)) / 8;
                let inner = &bytes[first_whole as usize..][..8 * whole_words as usize];
                seat.breathe().await;
                for (i, word) in words(inner).enumerate() {
                    let is_of_one_write = word == (word & 0xff) * 0x0101_0101_0101_0101;
                    assert!(is_of_one_write, "word {i} is torn: {word:016x}");
                }
            }
        })
    };
    let agents = (0..2).map(writer).chain((0..2).map(reader)).collect();
    world.run(agents);
    check_edges::<W>(world, WRITE.0, WRITE.1);
}

/// A WRITE that begins and ends within words leaves the bytes beside it alone.
fn check_edges<W: World>(world: &W, at: u64, len: usize) {
    world.run(vec![agent(move |seat: super::Seat<W::Fabric>| async move {
        let around = [seat.read(at - 5, 5).await, seat.read(at + len as u64, 5).await].concat();
        assert_eq!(around, [0; 10], "bytes beside a WRITE have changed");
        assert!(seat.fabric.totals().reads >= 2);
    })]);
}
