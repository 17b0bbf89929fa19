//! A run from end to end: threads connect, load, warm up, are measured, and hold still while memory is counted.

use crate::lane::{Lane, Phase, Shared};
use crate::progress::Progress;
use crate::rendezvous::{Broken, Rendezvous, Seat};
use crate::settings::{Length, Settings};
use crate::store::{Counters, Store, Stores};
use crate::stored::Stored;
use crate::tally::Tally;
use crate::workload::key::{KEY_LEN, Key, key_of};
use crate::workload::mix::OpKind;
use crate::workload::value::fill;
use anyhow::{Context, anyhow};
use farrow_fabric::Totals;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) elapsed: Duration,
    /// What the clients counted while they were measured.
    pub(crate) counters: Counters,
    pub(crate) not_started: u64,
    pub(crate) is_full: bool,
    pub(crate) load: Option<Duration>,
    /// Bytes of keys and values that are stored now, as far as the bench knows.
    pub(crate) live_bytes: u64,
}

/// Keys in one batch of the load.
const BATCH: u64 = 64;
/// The version of values that are loaded.
const LOADED_VERSION: u64 = 1;

struct Shelf {
    error: Mutex<Option<anyhow::Error>>,
    done: Vec<Done>,
}

/// A counter that shares its cache line with nothing.
#[repr(align(128))]
#[derive(Default)]
struct Done(AtomicU64);

/// What one thread brings home.
struct Yield {
    phase: Phase,
    counters: Counters,
    inserted_bytes: u64,
}

/// Runs the load against `stores`. `inspect` is called at the end, while all clients are still there.
pub(crate) fn drive<S: Stores, T>(
    stores: &S,
    settings: &Settings,
    inspect: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(Outcome, T)> {
    let changes_lens = !settings.sizes.is_fixed() || settings.mix.share(OpKind::Delete) > 0.0;
    let stored = Stored::new(settings.keys, changes_lens);
    let stop = AtomicBool::new(false);
    let shared = Shared { settings, stored: &stored, stop: &stop };
    let threads = settings.threads;
    let rendezvous = Rendezvous::new(threads as usize + 1);
    let shelf = Shelf { error: Mutex::default(), done: (0..threads).map(|_| Done::default()).collect() };

    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (shared, shelf, seat) = (&shared, &shelf, rendezvous.seat());
                std::thread::Builder::new()
                    .name(format!("farrow-bench-{thread}"))
                    .spawn_scoped(scope, move || {
                        work(stores, shared, shelf, &seat, thread).map(|it| (it, seat.leave()))
                    })
            })
            .collect::<Result<_, _>>()
            .context("cannot start a thread")?;
        let seat = rendezvous.seat();
        let led = lead(&seat, settings, &shelf, inspect);
        if led.is_err() {
            stop.store(true, Ordering::Relaxed);
            drop(seat);
        } else {
            seat.leave();
        }
        let mut yields = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(Ok((it, ()))) => yields.push(it),
                Ok(Err(Broken)) => {}
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        if let Some(error) = shelf.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let (load, inspected) = led?;
        let start = yields.iter().map(|y| y.phase.start).min().context("there are threads")?;
        let end = yields.iter().map(|y| y.phase.end).max().context("there are threads")?;
        let mut outcome = Outcome {
            tally: Tally::default(),
            elapsed: end - start,
            counters: Counters::default(),
            not_started: 0,
            is_full: stop.load(Ordering::Relaxed),
            load,
            live_bytes: stored.live_bytes(),
        };
        for it in &yields {
            outcome.tally.add(&it.phase.tally);
            outcome.counters.add(&it.counters);
            outcome.not_started += it.phase.not_started;
            outcome.live_bytes += it.inserted_bytes;
        }
        Ok((outcome, inspected))
    })
}

/// The leading thread's part: phases begin together, and progress is shown meanwhile.
fn lead<T>(
    seat: &Seat<'_>,
    settings: &Settings,
    shelf: &Shelf,
    inspect: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(Option<Duration>, T)> {
    let gone = |Broken| anyhow!("a thread of the load ended early");
    let done = || shelf.done.iter().map(|d| d.0.load(Ordering::Relaxed)).sum::<u64>();
    seat.meet().map_err(gone)?;
    let load_started = Instant::now();
    let load = match settings.load {
        true => {
            let progress = Progress::start("loading", Length::Ops(settings.keys), settings.is_quiet);
            progress.watch(done, || seat.meet()).map_err(gone)?;
            Some(load_started.elapsed())
        }
        false => None,
    };
    for (what, length) in [("warming up", settings.warm_up), ("measuring", settings.length)] {
        seat.meet().map_err(gone)?;
        let progress = Progress::start(what, length, settings.is_quiet);
        progress.watch(done, || seat.meet()).map_err(gone)?;
    }
    let inspected = inspect()?;
    seat.meet().map_err(gone)?;
    Ok((load, inspected))
}

/// One thread's part.
fn work<S: Stores>(
    stores: &S,
    shared: &Shared<'_>,
    shelf: &Shelf,
    seat: &Seat<'_>,
    thread: u32,
) -> Result<Yield, Broken> {
    let fail = |error: anyhow::Error| {
        shelf.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        Broken
    };
    let settings = shared.settings;
    let done = &shelf.done[thread as usize].0;
    let store = stores.open().map_err(fail)?;
    seat.meet()?;
    load(&store, shared, thread, done).map_err(fail)?;
    if settings.load {
        seat.meet()?;
    }
    let lane = Lane::new(shared, &store, thread, done);

    done.store(0, Ordering::Relaxed);
    seat.meet()?;
    // Nothing is counted, but what it puts is stored.
    drop(lane.run(settings.warm_up, !settings.seed));
    seat.meet()?;

    done.store(0, Ordering::Relaxed);
    let before = store.counters();
    seat.meet()?;
    let phase = lane.run(settings.length, settings.seed);
    let counters = since(store.counters(), &before);
    store.block_on(store.tell());
    seat.meet()?;

    // The memory is counted with everything in place.
    seat.meet()?;
    let inserted_bytes = lane.inserted.borrow().live_bytes();
    Ok(Yield { phase, counters, inserted_bytes })
}

/// Puts this thread's part of the keys, or notes that they are there.
fn load<S: Store>(store: &S, shared: &Shared<'_>, thread: u32, done: &AtomicU64) -> anyhow::Result<()> {
    let settings = shared.settings;
    let (thread, threads) = (u128::from(thread), u128::from(settings.threads));
    let bound = |part: u128| (u128::from(settings.keys) * part / threads) as u64;
    let (mut next, end) = (bound(thread), bound(thread + 1));
    let mut batch: Vec<(Key, Vec<u8>)> = Vec::new();
    while next < end {
        let until = end.min(next + BATCH);
        batch.clear();
        for key_index in next..until {
            let len = settings.sizes.loaded(settings.seed, key_index);
            shared.stored.load(key_index, len);
            if settings.load {
                let (key, mut value) = (key_of(key_index), vec![0; len as usize]);
                fill(&mut value, &key, LOADED_VERSION);
                batch.push((key, value));
            }
        }
        if settings.load {
            store.block_on(store.load(&batch)).map_err(|failed| {
                anyhow!(
                    "loading {} keys of {} bytes stopped after about {}: {}",
                    settings.keys,
                    KEY_LEN as f64 + settings.sizes.mean().round(),
                    next as u128 * threads,
                    failed.why
                )
            })?;
        }
        next = until;
        done.store(done.load(Ordering::Relaxed) + BATCH, Ordering::Relaxed);
    }
    Ok(())
}

/// What was counted since `before`. Kinds of operation are counted by the lanes, more finely.
fn since(now: Counters, before: &Counters) -> Counters {
    let mut counters = Counters { fabric: totals_since(&now.fabric, &before.fabric), ..Counters::default() };
    counters.cache.hits = now.cache.hits - before.cache.hits;
    counters.cache.misses = now.cache.misses - before.cache.misses;
    counters.cache.stale = now.cache.stale - before.cache.stale;
    for (label, count) in now.events {
        let count = count - before.events.get(&label).copied().unwrap_or(0);
        if count > 0 {
            counters.events.insert(label, count);
        }
    }
    counters
}

fn totals_since(now: &Totals, before: &Totals) -> Totals {
    now.since(before)
}
