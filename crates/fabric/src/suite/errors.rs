//! F5 and F9: what fails, and what may be assumed then.

use super::seat::{addr, agent, assert_down, must, read};
use super::{Seat, World};
use crate::{Chain, Effect, Fabric, Link, VerbError, Why};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// F5.
pub(super) fn refusals<W: World>(world: &W) {
    world.run(vec![agent(|seat: Seat<W::Fabric>| async move {
        let len = seat.link.caps().memory_len;
        let end = len - 256;
        let mark: Vec<u8> = (0..=255).collect();
        seat.write(0, &mark).await;
        seat.write(end, &mark).await;

        let before = seat.fabric.totals();
        for (chain, why) in bad_chains(&seat, len) {
            let error = seat.link.post(chain.clone()).await.expect_err("a bad chain");
            let expected = VerbError { node: seat.link.node(), effect: Effect::None, why };
            assert_eq!(error, expected, "{chain:?}");
            assert!(seat.link.is_up(), "a chain that is refused here does not cost the link");
        }
        assert_eq!(seat.fabric.totals(), before, "what is refused here is not counted");
        assert_eq!(seat.read(0, 256).await, mark, "refused chains change nothing");
        assert_eq!(seat.read(end, 256).await, mark, "the last bytes are within bounds, and unchanged");

        wrong_key(&seat, &mark).await;
    })]);
}

fn bad_chains<F: Fabric>(seat: &Seat<F>, len: u64) -> Vec<(Chain, Why)> {
    let new = Chain::new;
    let junk = seat.pattern(0xee, 16);
    let slice = || junk.whole();
    let mut bad = vec![(new(), Why::Malformed)];
    for at in [len, len - 8, len + 8, u64::MAX - 15, u64::MAX - 8, u64::MAX] {
        bad.push((new().read(addr(at), slice()), Why::OutOfBounds));
        bad.push((new().write(addr(at), slice()), Why::OutOfBounds));
    }
    for at in [len, len.next_multiple_of(8) + 64, u64::MAX - 7] {
        bad.push((new().read_word(addr(at)), Why::OutOfBounds));
        bad.push((new().write_word(addr(at), 1), Why::OutOfBounds));
        bad.push((new().compare_swap(addr(at), 0, 1), Why::OutOfBounds));
        bad.push((new().fetch_add(addr(at), 1), Why::OutOfBounds));
    }
    bad.push((new().read_word_pair(addr(len - 8)), Why::OutOfBounds));
    for at in [1, 4, 12, 63] {
        bad.push((new().read_word(addr(at)), Why::Misaligned));
        bad.push((new().read_word_pair(addr(at)), Why::Misaligned));
        bad.push((new().write_word(addr(at), 1), Why::Misaligned));
        bad.push((new().compare_swap(addr(at), 0, 1), Why::Misaligned));
        bad.push((new().fetch_add(addr(at), 1), Why::Misaligned));
    }
    // Good verbs in bad company do not execute either.
    let good = || new().write(addr(0), slice()).fetch_add(addr(8), 1);
    bad.push((good().read(addr(len), slice()), Why::OutOfBounds));
    bad.push((good().compare_swap(addr(17), 0, 1), Why::Misaligned));
    bad
}

async fn wrong_key<F: Fabric>(seat: &Seat<F>, mark: &[u8]) {
    let lost = seat.fabric.totals().links_lost;
    let link = seat.controls.link_with_wrong_key().await;
    let junk = seat.pattern(0xee, 16);
    let error = link.post(Chain::new().write(addr(0), junk.whole())).await.expect_err("a wrong key");
    assert_eq!(error.why, Why::WrongKey, "{error}");
    assert_down(&link).await;
    assert_eq!(seat.fabric.totals().links_lost, lost + 1);
    assert_eq!(seat.read(0, 256).await, mark, "a wrong key changes nothing");
    let other = seat.controls.link().await;
    assert_eq!(read(&seat.fabric, &other, 0, 256).await, mark, "the links beside it work");
}

/// F9.
pub(super) fn lost_link<W: World>(world: &W) {
    const IN_FLIGHT: u64 = 16;
    const WORKERS: u64 = 2;
    let is_dead = Arc::new(AtomicU64::new(0));
    let at_work = Arc::new(AtomicU64::new(0));
    let worker = |me: u64| {
        let (is_dead, at_work) = (is_dead.clone(), at_work.clone());
        agent(move |seat: Seat<W::Fabric>| async move {
            let lost = seat.fabric.totals().links_lost;
            let mut first = true;
            let error = 'lost: loop {
                let posted_late = is_dead.load(Ordering::SeqCst) == 1;
                let post = |i| {
                    let data = seat.pattern(i as u8, 100);
                    seat.link.post(Chain::new().write(addr(4096 * me), data.whole()).fetch_add(addr(64), 1))
                };
                let answers: Vec<_> = (0..IN_FLIGHT).map(post).collect();
                for answer in answers {
                    match answer.await {
                        Ok(_) => {
                            assert!(!posted_late, "a chain posted after the responder's death succeeded")
                        }
                        Err(error) => break 'lost error,
                    }
                }
                if std::mem::take(&mut first) {
                    at_work.fetch_add(1, Ordering::SeqCst);
                }
                seat.pause(1_000).await;
            };
            assert_eq!(error.node, seat.link.node());
            let is_loss =
                matches!(error.why, Why::PeerLost | Why::LeaseExpired | Why::Fenced | Why::Provider(_));
            assert!(is_loss, "the loss of a node is not {error}");
            assert_down(&seat.link).await;
            assert_eq!(seat.fabric.totals().links_lost, lost + 1, "a link is lost once");
        })
    };
    let killer = {
        let (is_dead, at_work) = (is_dead.clone(), at_work.clone());
        agent(move |seat: Seat<W::Fabric>| async move {
            must(&seat.link, Chain::new().read_word(addr(0))).await;
            seat.wait_for(&at_work, WORKERS).await;
            seat.controls.kill().await;
            is_dead.store(1, Ordering::SeqCst);
            let error =
                seat.link.post(Chain::new().read_word(addr(0))).await.expect_err("the responder is dead");
            assert_eq!(error.node, seat.link.node());
            assert_down(&seat.link).await;
        })
    };
    world.run((1..=WORKERS).map(worker).chain([killer]).collect());
}
