//! Client threads of a demo under chaos: they compare every value, and note when they got answers.

use super::records::Records;
use crate::exit::{Exit, told};
use crate::key;
use anyhow::{Context, Result};
use farrow_bench::record::BytesRecord;
use farrow_chaos::now_ns;
use farrow_client::{Cluster, Error, LocalClient, Options};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counters that each thread counts up, its alone.
const COUNTERS: usize = 64;
/// Of a hundred operations, those that are PUTs.
const PUTS_OF_100: u32 = 5;
/// Answers nearer to each other are not told apart.
const RESOLUTION_NS: u64 = 100_000;
/// Before an operation that failed is followed by another.
const REST: Duration = Duration::from_millis(1);

/// What all threads share.
pub struct Pulse<'a> {
    records: &'a [BytesRecord],
    is_over: AtomicBool,
    /// GETs and PUTs that were answered.
    done: [AtomicU64; 2],
    threads: Vec<Mutex<Kept>>,
}

/// What one thread knows.
#[derive(Default)]
struct Kept {
    counters: Vec<Counter>,
    /// When GETs and PUTs were answered.
    times: [Vec<u64>; 2],
    errors: BTreeMap<String, u64>,
}

/// The last value that was acknowledged, and those of which nobody knows.
#[derive(Clone, Default)]
struct Counter {
    last: u64,
    acknowledged: u64,
    doubtful: Vec<u64>,
}

fn name(thread: usize, counter: usize) -> Vec<u8> {
    format!("demo/counter/{thread}/{counter}").into_bytes()
}

impl<'a> Pulse<'a> {
    /// For so many threads.
    pub fn new(records: &'a Records, threads: u32) -> Pulse<'a> {
        let kept = || Mutex::new(Kept { counters: vec![Counter::default(); COUNTERS], ..Kept::default() });
        let threads = (0..threads).map(|_| kept()).collect();
        Pulse { records: records.all(), is_over: AtomicBool::new(false), done: Default::default(), threads }
    }

    fn kept(&self, thread: usize) -> MutexGuard<'_, Kept> {
        self.threads[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all threads end.
    pub fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// GETs and PUTs that were answered.
    pub fn done(&self) -> [u64; 2] {
        [0, 1].map(|i: usize| self.done[i].load(Ordering::Relaxed))
    }

    /// When GETs and PUTs were answered, in order.
    pub fn times(&self) -> [Vec<u64>; 2] {
        [0, 1].map(|i: usize| {
            let mut all: Vec<u64> =
                (0..self.threads.len()).flat_map(|t| self.kept(t).times[i].clone()).collect();
            all.sort_unstable();
            all
        })
    }

    /// Operations without an answer, by error.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for thread in 0..self.threads.len() {
            for (label, n) in &self.kept(thread).errors {
                *all.entry(label.clone()).or_default() += n;
            }
        }
        all
    }

    /// GETs and PUTs until [`Pulse::stop`].
    ///
    /// # Errors
    /// A value is not what it must be. That an operation fails is none: it is counted.
    pub fn work(&self, cluster: &Cluster, options: &Options, thread: u32) -> Result<()> {
        let client = cluster.local_client(options)?;
        let mut random = SmallRng::seed_from_u64(thread.into());
        let thread = thread as usize;
        let mut kept = self.kept(thread);
        while !self.is_over.load(Ordering::Relaxed) {
            let is_put = random.random_range(0..100) < PUTS_OF_100;
            let outcome = match (is_put, random.random_range(0..8)) {
                (true, _) => {
                    let which = random.random_range(0..COUNTERS);
                    kept.counters[which].count_up(&client, &name(thread, which))
                }
                (false, 0) => {
                    let which = random.random_range(0..COUNTERS);
                    kept.counters[which].look(&client, &name(thread, which))?
                }
                (false, _) => {
                    let record = &self.records[random.random_range(0..self.records.len())];
                    look(&client, record)?
                }
            };
            match outcome {
                Ok(()) => {
                    let (now, times) = (now_ns(), &mut kept.times[usize::from(is_put)]);
                    if times.last().is_none_or(|last| now - last >= RESOLUTION_NS) {
                        times.push(now);
                    }
                    self.done[usize::from(is_put)].fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    *kept.errors.entry(error.label().to_owned()).or_default() += 1;
                    std::thread::sleep(REST);
                }
            }
        }
        Ok(())
    }

    /// Reads all counters back and says how many there are.
    ///
    /// # Errors
    /// One of them cannot be read, or is not what it must be.
    pub fn check(&self, cluster: &Cluster, options: &Options) -> Result<u64> {
        let client = cluster.local_client(options)?;
        for thread in 0..self.threads.len() {
            for (which, counter) in self.kept(thread).counters.iter().enumerate() {
                let name = name(thread, which);
                counter.look(&client, &name)?.with_context(|| format!("get `{}`", key::show(&name)))?;
            }
        }
        Ok((self.threads.len() * COUNTERS) as u64)
    }
}

impl Counter {
    fn count_up(&mut self, client: &LocalClient, name: &[u8]) -> Result<(), Error> {
        self.last += 1;
        match client.block_on(client.put(name, self.last.to_string().as_bytes())) {
            Ok(_) => {
                self.acknowledged = self.last;
                Ok(())
            }
            Err(error) => {
                if matches!(error, Error::Unknown { .. }) {
                    self.doubtful.push(self.last);
                }
                Err(error)
            }
        }
    }

    /// The inner result says whether there was an answer.
    fn look(&self, client: &LocalClient, name: &[u8]) -> Result<Result<(), Error>> {
        let value = match client.block_on(client.get(name)) {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        };
        let text = value.map_or("0".to_owned(), |v| String::from_utf8_lossy(&v.to_vec()).into_owned());
        let is_right = text.parse().is_ok_and(|n| n == self.acknowledged || self.doubtful.contains(&n));
        match is_right {
            true => Ok(Ok(())),
            false => {
                let why = format!("`{}` is {text} and was {} at last", key::show(name), self.acknowledged);
                Err(told(Exit::Corrupt, why))
            }
        }
    }
}

fn look(client: &LocalClient, record: &BytesRecord) -> Result<Result<(), Error>> {
    let value = match client.block_on(client.get(&record.key)) {
        Ok(value) => value,
        Err(error) => return Ok(Err(error)),
    };
    match value.is_some_and(|value| value.with(|bytes| bytes == record.value)) {
        true => Ok(Ok(())),
        false => {
            Err(told(Exit::Corrupt, format!("`{}` is not what was put, or is gone", key::show(&record.key))))
        }
    }
}
