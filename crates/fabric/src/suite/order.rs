//! F1 and F4: what is seen in which order.

use super::World;
use super::seat::{addr, agent, words};
use crate::{Chain, Fabric};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const BEFORE: u64 = 64;
const DATA: u64 = 4096;
const DATA_LEN: usize = 256;
const AFTER: u64 = 128;
const COUNT: u64 = 192;

/// F1.
pub(super) fn chain_order<W: World>(world: &W) {
    let rounds = world.rounds(20_000);
    let mut agents = vec![agent(move |seat| async move {
        for i in 1..=rounds {
            // Its own later verbs see its earlier ones, whatever their kinds.
            let (out, back) = (seat.filled(&i.to_le_bytes().repeat(DATA_LEN / 8)), seat.buffer(DATA_LEN));
            let chain = Chain::new()
                .write_word(addr(BEFORE), i)
                .write(addr(DATA), out.whole())
                .compare_swap(addr(AFTER), i - 1, i)
                .read_word(addr(AFTER))
                .read(addr(DATA), back.whole())
                .fetch_add(addr(COUNT), 1)
                .read_word_pair(addr(COUNT));
            let answers = seat.ok(chain).await;
            assert_eq!(answers.as_slice(), [i - 1, i, i - 1, i, 0]);
            assert!(back.with(|b| words(b).all(|w| w == i)), "a chain reads what it wrote");
        }
    })];
    for _ in 0..2 {
        agents.push(agent(move |seat| async move {
            let (data, mut last) = (seat.buffer(DATA_LEN), 0);
            while last < rounds {
                // Read in the opposite order of the writes: nothing may be newer than what is read after it.
                let chain = Chain::new()
                    .read_word(addr(AFTER))
                    .read(addr(DATA), data.whole())
                    .read_word(addr(BEFORE));
                let answers = seat.ok(chain).await;
                let (after, before) = (answers[0], answers[1]);
                data.with(|bytes| {
                    for word in words(bytes) {
                        assert!(
                            after <= word,
                            "saw the CAS of round {after}, but data of round {word} before it"
                        );
                        assert!(
                            word <= before,
                            "data of round {word} was read before round {before} of the word"
                        );
                    }
                });
                assert!(last <= after, "a word went back in time");
                last = after;
                seat.breathe().await;
            }
        }));
    }
    world.run(agents);
    world.run(store_load_agents(rounds, true));
}

/// F4.
pub(super) fn completed_is_visible<W: World>(world: &W) {
    let rounds = world.rounds(20_000);
    world.run(store_load_agents(rounds, false));
    world.run(told_agents(world.rounds(2_000)));
}

/// Two agents that each write their own word and then read the other's (Dekker): in no pair of rounds may both miss the
/// other's write. With `in_one_chain` it is the order within a chain that is asked for.
fn store_load_agents<F: Fabric>(rounds: u64, in_one_chain: bool) -> Vec<super::Agent<F>> {
    const WORDS: [u64; 2] = [512, 1024];
    let seen: Arc<[Mutex<Vec<u64>>; 2]> = Arc::default();
    let (arrived, ended): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
    let one = |me: usize| {
        let (seen, arrived, ended) = (seen.clone(), arrived.clone(), ended.clone());
        // Above what an earlier pair of agents left behind.
        let base = if in_one_chain { 1 << 32 } else { 2 << 32 };
        agent(move |seat| async move {
            let (mine, other) = (addr(WORDS[me]), addr(WORDS[1 - me]));
            let mut saw = Vec::new();
            seat.assemble(&arrived, 2).await;
            for i in 1..=rounds {
                let write = Chain::new().write_word(mine, base + i);
                let answers = if in_one_chain {
                    seat.ok(write.read_word(other)).await
                } else {
                    seat.ok(write).await;
                    seat.ok(Chain::new().read_word(other)).await
                };
                saw.push(answers[0].saturating_sub(base));
            }
            *seen[me].lock().expect("agents do not panic with it") = saw;
            if ended.fetch_add(1, Ordering::SeqCst) == 1 {
                check_store_load(&seen[0].lock().expect("as above"), &seen[1].lock().expect("as above"));
            }
        })
    };
    vec![one(0), one(1)]
}

/// `a[r - 1]` is the round of the other that the first agent saw in its own round `r`; so for `b`.
fn check_store_load(a: &[u64], b: &[u64]) {
    for (r, &saw) in (1..).zip(a) {
        // The first of the other's rounds that this one missed; what it saw only grows, so it is the telling one.
        let missed = saw + 1;
        if let Some(&its) = b.get(missed as usize - 1) {
            assert!(
                its >= r,
                "round {r} missed the write of round {missed}, which missed that of round {r} too"
            );
        }
    }
}

/// One agent tells another, outside of the fabric, that a write is complete; the other must see it.
fn told_agents<F: Fabric>(rounds: u64) -> Vec<super::Agent<F>> {
    const AT: u64 = 16384;
    let done = Arc::new(AtomicU64::new(0));
    let seen = Arc::new(AtomicU64::new(0));
    let (tell, read) = ((done.clone(), seen.clone()), (done, seen));
    let writer = agent(move |seat| async move {
        let (done, seen) = tell;
        for i in 1..=rounds {
            let data = seat.filled(&i.to_le_bytes().repeat(8));
            seat.ok(Chain::new().write(addr(AT), data.whole())).await;
            done.store(i, Ordering::SeqCst);
            seat.wait_for(&seen, i).await;
        }
    });
    let reader = agent(move |seat| async move {
        let (done, seen) = read;
        for i in 1..=rounds {
            seat.wait_for(&done, i).await;
            let bytes = seat.read(AT, 64).await;
            assert!(words(&bytes).all(|w| w == i), "write {i} is complete, but a later read does not see it");
            seen.store(i, Ordering::SeqCst);
        }
    });
    vec![writer, reader]
}

#[cfg(test)]
mod tests {
    use super::check_store_load;

    #[test]
    fn rounds_that_see_each_other_pass() {
        check_store_load(&[0, 1, 3], &[1, 2, 2]);
    }

    #[test]
    #[should_panic(expected = "missed")]
    fn rounds_that_miss_each_other_are_found() {
        check_store_load(&[0, 0], &[0, 2]);
    }
}
