//! F6: a fence.

use super::seat::{addr, agent, assert_down, must, read};
use super::{Seat, World};
use crate::{Chain, Effect, Fabric, Link};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const WORKERS: u64 = 3;
const IN_FLIGHT: usize = 8;
const BLOCK_LEN: usize = 2048;

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
    4096 * (worker + 1)
}

fn fresh_at(worker: u64) -> u64 {
    (1 << 20) + 4096 * worker
}

/// F6.
pub(super) fn barrier<W: World>(world: &W) {
    let at_work = Arc::new(AtomicU64::new(0));
    let is_fenced = Arc::new(AtomicU64::new(0));
    let outcomes: Arc<Mutex<[Outcomes; WORKERS as usize]>> = Arc::default();
    let worker = |me: u64| {
        let (at_work, is_fenced, outcomes) = (at_work.clone(), is_fenced.clone(), outcomes.clone());
        agent(move |seat: Seat<W::Fabric>| async move {
            let mine = work_until_fenced(&seat, me, &at_work, &is_fenced).await;
            outcomes.lock().expect("agents do not panic with it")[me as usize] = mine;
            assert_down(&seat.link).await;
            seat.wait_for(&is_fenced, 1).await;
            let link = seat.controls.link().await;
            must(&link, Chain::new().write_word(addr(fresh_at(me)), me + 1)).await;
            assert_eq!(must(&link, Chain::new().read_word(addr(fresh_at(me)))).await[0], me + 1);
        })
    };
    let controller = {
        let (at_work, is_fenced) = (at_work.clone(), is_fenced.clone());
        agent(move |seat: Seat<W::Fabric>| async move {
            seat.wait_for(&at_work, WORKERS).await;
            seat.controls.fence().await;
            let link = seat.controls.link().await;
            let snapshot = read(&seat.fabric, &link, 0, 65536).await;
            is_fenced.store(1, Ordering::SeqCst);
            for _ in 0..20 {
                seat.pause(200_000).await;
                assert!(
                    read(&seat.fabric, &link, 0, 65536).await == snapshot,
                    "memory changed after a fence"
                );
            }
            let late = Chain::new().write_word(addr(0), 1);
            assert_eq!(seat.link.post(late).await.expect_err("fenced").effect, Effect::None);
            assert!(read(&seat.fabric, &link, 0, 65536).await == snapshot, "a fenced link wrote");
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

async fn work_until_fenced<F: Fabric>(
    seat: &Seat<F>,
    me: u64,
    at_work: &AtomicU64,
    is_fenced: &AtomicU64,
) -> Outcomes {
    let mut mine = Outcomes::default();
    for round in 0u64.. {
        let posted_late = is_fenced.load(Ordering::SeqCst) == 1;
        let post = |i: usize| {
            let block = seat.pattern(round as u8 ^ i as u8, BLOCK_LEN);
            let chain =
                Chain::new().write(addr(block_at(me)), block.whole()).fetch_add(addr(count_at(me)), 1);
            seat.link.post(chain)
        };
        let posted: Vec<_> = (0..IN_FLIGHT).map(post).collect();
        let mut has_failed = false;
        for answer in posted {
            match answer.await {
                Ok(_) => {
                    assert!(!has_failed, "a chain succeeded behind one that failed");
                    assert!(!posted_late, "a chain posted after the fence succeeded");
                    mine.done += 1;
                }
                Err(error) => {
                    has_failed = true;
                    mine.maybe += u64::from(error.effect == Effect::Maybe);
                }
            }
        }
        if has_failed {
            break;
        }
        if round == 3 {
            at_work.fetch_add(1, Ordering::SeqCst);
        }
        // An agent that shares its thread with others lets them run.
        seat.pause(100).await;
    }
    mine
}
