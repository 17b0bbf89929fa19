//! The search at random: many seeds of a family of runs, each a run of its own, on several threads.

use crate::home::{self, Protocol, Report, Restored};
use farrow_fabric_sim::World;
use farrow_protocol::Event;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a seed means: a family of runs.
pub trait Family: Sync {
    /// Its name in reports.
    fn name(&self) -> String;

    /// The run of a seed.
    ///
    /// # Panics
    /// When an oracle objects.
    fn run(&self, seed: u64) -> Tally;

    /// Rare paths that some seed has to take: a sweep that misses one has not searched what it was to search.
    fn paths(&self) -> Vec<&'static str>;
}

/// What one run was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations of all clients.
    pub operations: u64,
    /// Those whose outcome is unknown.
    pub unknown: u64,
    /// Those that were refused and certainly had no effect.
    pub failed: u64,
    /// Events of the world.
    pub events: u64,
    /// Rare paths, and how often they were taken.
    pub seen: BTreeMap<String, u64>,
}

/// What to search.
#[derive(Clone, Debug)]
pub struct Sweep<F = Protocol> {
    /// The runs.
    pub family: F,
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
    /// Operations that were refused and certainly had no effect.
    pub failed_operations: u64,
    /// Events of all worlds.
    pub events: u64,
    /// Seconds.
    pub elapsed: Duration,
    /// How often each rare path was taken.
    pub seen: BTreeMap<String, u64>,
    /// Seeds to which an oracle objected, and what it said.
    pub failed: Vec<(u64, String)>,
}

impl<F: Family> Sweep<F> {
    /// All of `count` seeds from 0 on, on all cores.
    pub fn of(family: F, count: u64) -> Sweep<F> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Sweep { family, first: 0, count, most: Duration::MAX, threads, most_failed: 8 }
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
                        let outcome = caught(|| self.family.run(seed));
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

/// Ends a world however its run ends: tasks that are left, daemons among them, hold the world that holds them.
pub(crate) struct Ending<'a>(pub(crate) &'a World);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Family for Protocol {
    fn name(&self) -> String {
        format!("home {}", Protocol::name(*self))
    }

    fn run(&self, seed: u64) -> Tally {
        let world = home::world(seed, false);
        let _ending = Ending(&world);
        home::run_drawn(&world, *self).into()
    }

    fn paths(&self) -> Vec<&'static str> {
        Event::ALL.iter().filter(|e| self.has_path(**e)).map(|e| e.label()).collect()
    }
}

impl Family for Restored {
    fn name(&self) -> String {
        "home restored".to_owned()
    }

    fn run(&self, seed: u64) -> Tally {
        let world = home::world(seed, false);
        let _ending = Ending(&world);
        self.run_drawn(&world).into()
    }

    fn paths(&self) -> Vec<&'static str> {
        [Event::JoinedMember, Event::RecoveredClient, Event::TookBackStray].map(Event::label).to_vec()
    }
}

impl From<Report> for Tally {
    fn from(report: Report) -> Tally {
        Tally {
            operations: report.operations,
            unknown: report.unknown,
            failed: report.failed,
            events: report.events,
            seen: report.seen.into_iter().map(|(event, n)| (event.label().to_owned(), n)).collect(),
        }
    }
}

/// Runs one seed; `Err` is what an oracle said.
pub fn run_seed(family: impl Family, seed: u64) -> Result<Tally, String> {
    caught(|| family.run(seed))
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
    fn add(&mut self, seed: u64, outcome: Result<Tally, String>) {
        match outcome {
            Ok(tally) => {
                self.histories += 1;
                self.operations += tally.operations;
                self.unknown += tally.unknown;
                self.failed_operations += tally.failed;
                self.events += tally.events;
                for (label, times) in tally.seen {
                    *self.seen.entry(label).or_default() += times;
                }
            }
            Err(why) => self.failed.push((seed, why)),
        }
    }

    /// Paths of `family` that no run took.
    pub fn never_seen(&self, family: impl Family) -> Vec<&'static str> {
        family.paths().into_iter().filter(|label| !self.seen.contains_key(*label)).collect()
    }
}

impl<F: Family> Family for &F {
    fn name(&self) -> String {
        (**self).name()
    }

    fn run(&self, seed: u64) -> Tally {
        (**self).run(seed)
    }

    fn paths(&self) -> Vec<&'static str> {
        (**self).paths()
    }
}
