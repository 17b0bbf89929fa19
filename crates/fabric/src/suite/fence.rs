//! F6: a fence.

use super::seat::{addr, agent, assert_down, must, read};
use super::{Seat, World};
use crate::{Chain, Effect, Fabric, Link};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const WORKERS: u64 = 3;
const IN_FLIGHT: usize = 4;
/// Large, so that a fence mostly meets chains that are half done.
const BLOCK_LEN: usize = 32 << 10;
/// What the workers change through links that are fenced.
const WATCHED: usize = BLOCK_LEN * (1 + WORKERS as usize);

/// What a worker knows of its own chains.
#[derive(Clone, Copy, Default)]
struct Outcomes {
    done: u64,
    maybe: u64,
}

fn count_at(worker: u64) -> u64 {
    64 * (worker + 1)
}

fn block_at(worker: u64) -> u64 {
    BLOCK_LEN as u64 * (worker + 1)
}

/// F6.
pub(super) fn barrier<W: World>(world: &W) {
    let fences = world.rounds(50);
    let at_work = Arc::new(AtomicU64::new(0));
    let fenced = Arc::new(AtomicU64::new(0));
    let outcomes: Arc<Mutex<[Outcomes; WORKERS as usize]>> = Arc::default();
    let worker = |me: u64| {
        let (at_work, fenced, outcomes) = (at_work.clone(), fenced.clone(), outcomes.clone());
        agent(move |mut seat: Seat<W::Fabric>| async move {
            let mut mine = Outcomes::default();
            for fence in 1..=fences {
                work_until_fenced(&seat, me, (&at_work, &fenced, fence), &mut mine).await;
                assert_down(&seat.link).await;
                seat.wait_for(&fenced, fence).await;
                seat.link = seat.controls.link().await;
            }
            let last = WATCHED as u64 + 8 * me;
            must(&seat.link, Chain::new().write_word(addr(last), me + 1)).await;
            assert_eq!(seat.word(last).await, me + 1, "a link of the new epoch works");
            outcomes.lock().expect("agents do not panic with it")[me as usize] = mine;
        })
    };
    let controller = {
        let (at_work, fenced) = (at_work.clone(), fenced.clone());
        agent(move |mut seat: Seat<W::Fabric>| async move {
            for fence in 1..=fences {
                seat.wait_for(&at_work, fence * WORKERS).await;
                seat.controls.fence().await;
                let old = std::mem::replace(&mut seat.link, seat.controls.link().await);
                watch(&seat, &old).await;
                fenced.store(fence, Ordering::SeqCst);
            }
        })
    };
    world.run((0..WORKERS).map(worker).chain([controller]).collect());

    let outcomes = *outcomes.lock().expect("all agents have ended");
    world.run(vec![agent(move |seat: Seat<W::Fabric>| async move {
        for (me, Outcomes { done, maybe }) in (0..).zip(outcomes) {
            let counted = seat.word(count_at(me)).await;
            let range = done..=done + maybe;
            assert!(range.contains(&counted), "{counted} effects of {done} done and {maybe} unknown chains");
        }
    })]);
}

/// Sees that nothing changes any more, and that the controller's own old link is of no use.
async fn watch<F: Fabric>(seat: &Seat<F>, old: &F::Link) {
    let snapshot = read(&seat.fabric, &seat.link, 0, WATCHED).await;
    let error = old.post(Chain::new().write_word(addr(0), 1)).await.expect_err("the link was fenced");
    assert_eq!(error.node, old.node());
    assert_down(old).await;
    seat.pause(200_000).await;
    let later = read(&seat.fabric, &seat.link, 0, WATCHED).await;
    assert!(later == snapshot, "memory changed after a fence");
}

/// `fence` is the number of the fence that will end it; `fenced`, of the last that is done.
async fn work_until_fenced<F: Fabric>(
    seat: &Seat<F>,
    me: u64,
    (at_work, fenced, fence): (&AtomicU64, &AtomicU64, u64),
    outcomes: &mut Outcomes,
) {
    let blocks: Vec<_> =
        (0..IN_FLIGHT).map(|i| seat.pattern(fence as u8 ^ (i as u8) << 4, BLOCK_LEN)).collect();
    for round in 0u64.. {
        let posted_late = fenced.load(Ordering::SeqCst) >= fence;
        let post = |i: usize| {
            let (at, block) = (addr(block_at(me)), || blocks[i].whole());
            let chain = Chain::new().write(at, block()).write(at, blocks[i / 2].whole()).write(at, block());
            seat.link.post(chain.fetch_add(addr(count_at(me)), 1))
        };
        let posted: Vec<_> = (0..IN_FLIGHT).map(post).collect();
        let mut has_failed = false;
        for answer in posted {
            match answer.await {
                Ok(_) => {
                    assert!(!has_failed, "a chain succeeded behind one that failed");
                    assert!(!posted_late, "a chain posted after the fence succeeded");
                    outcomes.done += 1;
                }
                Err(error) => {
                    has_failed = true;
                    outcomes.maybe += u64::from(error.effect == Effect::Maybe);
                }
            }
        }
        if has_failed {
            return;
        }
        if round == 1 {
            at_work.fetch_add(1, Ordering::SeqCst);
        }
        seat.breathe().await;
    }
}
