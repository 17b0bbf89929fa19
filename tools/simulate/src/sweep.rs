//! The search at random: many seeds, each a run of its own, on several threads.

use crate::home::{self, Protocol};
use farrow_protocol::Event;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What to search.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The protocol.
    pub protocol: Protocol,
    /// The first seed.
    pub first: u64,
    /// How many seeds, at most.
    pub count: u64,
    /// Begin no further seed after this long.
    pub most: Duration,
    /// Threads.
    pub threads: usize,
    /// Stop after so many seeds that fail: a few more than one often show what they have in common.
    pub most_failed: usize,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Runs that ended.
    pub histories: u64,
    /// Operations of all clients.
    pub operations: u64,
    /// Those whose outcome is unknown.
    pub unknown: u64,
    /// Operations refused for want of a slot.
    pub failed_operations: u64,
    /// Events of all worlds.
    pub events: u64,
    /// Seconds.
    pub elapsed: Duration,
    /// How often each rare path was taken.
    pub seen: BTreeMap<&'static str, u64>,
    /// Seeds to which an oracle objected, and what it said.
    pub failed: Vec<(u64, String)>,
}

impl Sweep {
    /// All of `count` seeds from 0 on, on all cores.
    pub fn of(protocol: Protocol, count: u64) -> Sweep {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Sweep { protocol, first: 0, count, most: Duration::MAX, threads, most_failed: 8 }
    }

    /// Runs it. `tick` is called now and then with the number of histories so far.
    pub fn run(&self, tick: impl Fn(u64) + Sync) -> Swept {
        let begin = Instant::now();
        let next = AtomicU64::new(self.first);
        let total = Mutex::new(Swept::default());
        let lock = || total.lock().expect("adding up does not panic");
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    while begin.elapsed() < self.most && lock().failed.len() < self.most_failed {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.first.saturating_add(self.count) {
                            break;
                        }
                        let outcome = run_seed(self.protocol, seed);
                        let mut total = lock();
                        total.add(seed, outcome);
                        if total.histories.is_multiple_of(500) {
                            tick(total.histories);
                        }
                    }
                });
            }
        });
        let mut total = total.into_inner().expect("adding up does not panic");
        total.elapsed = begin.elapsed();
        total.failed.sort();
        total
    }
}

/// Runs one seed; `Err` is what an oracle said.
pub fn run_seed(protocol: Protocol, seed: u64) -> Result<home::Report, String> {
    let world = home::world(seed, false);
    let outcome = caught(|| home::run_drawn(&world, protocol));
    world.end();
    outcome
}

/// Runs `run`; what it panicked with, if it did.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned())
    })
}

impl Swept {
    fn add(&mut self, seed: u64, outcome: Result<home::Report, String>) {
        match outcome {
            Ok(report) => {
                self.histories += 1;
                self.operations += report.operations;
                self.unknown += report.unknown;
                self.failed_operations += report.failed;
                self.events += report.events;
                for (event, times) in report.seen {
                    *self.seen.entry(event.label()).or_default() += times;
                }
            }
            Err(why) => self.failed.push((seed, why)),
        }
    }

    /// Paths of `protocol` that no run took.
    pub fn never_seen(&self, protocol: Protocol) -> Vec<&'static str> {
        let paths = Event::ALL.iter().filter(|e| protocol.has_path(**e)).map(|e| e.label());
        paths.filter(|label| !self.seen.contains_key(label)).collect()
    }
}
