//! Clients of this process that work at a given rate and note how long each call took, and when.

use crate::now_ns;
use crate::storm::filler;
use anyhow::{Context, Result};
use farrow_client::LocalClient;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Calls as quantiles, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// How many calls.
    pub calls: usize,
    /// Half took no longer.
    pub p50_us: f64,
    /// Ninety-nine of a hundred took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    /// Of calls that took so many nanoseconds; `None` of none.
    pub fn of(mut took: Vec<u64>) -> Option<Latency> {
        took.sort_unstable();
        let quantile = |q: f64| took[((took.len() - 1) as f64 * q) as usize] as f64 / 1e3;
        (!took.is_empty()).then(|| Latency {
            calls: took.len(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            max_us: quantile(1.0),
        })
    }
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) began_ns: u64,
    pub(super) took_ns: u64,
    pub(super) is_read: bool,
}

/// What a worker does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labour {
    pub(super) keys: usize,
    pub(super) value_len: usize,
    pub(super) reads: f64,
    pub(super) rate: f64,
}

/// Threads with a client each.
pub(super) struct Workers {
    threads: Vec<JoinHandle<Result<Vec<Call>>>>,
    is_told: Arc<AtomicBool>,
}

impl Workers {
    /// Starts `count` of them, with clients that `connect` makes in their threads.
    pub(super) fn start(
        count: usize,
        labour: Labour,
        connect: impl Fn() -> Result<LocalClient> + Clone + Send + 'static,
    ) -> Result<Workers> {
        let is_told = Arc::new(AtomicBool::new(false));
        let thread = |number: usize| {
            let (connect, is_told) = (connect.clone(), is_told.clone());
            let work = move || work(&connect()?, labour, number as u64, &is_told);
            thread::Builder::new().name(format!("worker-{number}")).spawn(work).context("no thread")
        };
        let threads = (0..count).map(thread).collect::<Result<_>>()?;
        Ok(Workers { threads, is_told })
    }

    /// Stops them: all of their calls.
    pub(super) fn stop(self) -> Result<Vec<Call>> {
        self.is_told.store(true, Ordering::Relaxed);
        let mut calls = Vec::new();
        for thread in self.threads {
            calls.extend(thread.join().expect("a worker does not panic")?);
        }
        Ok(calls)
    }
}

/// The key of a number.
pub(super) fn key(number: usize) -> Vec<u8> {
    format!("restored-{number}").into_bytes()
}

fn work(client: &LocalClient, labour: Labour, seed: u64, is_told: &AtomicBool) -> Result<Vec<Call>> {
    let mut random = SmallRng::seed_from_u64(seed);
    let value = filler(labour.value_len, seed);
    let period = (1e9 / labour.rate) as u64;
    let (mut calls, mut next_ns) = (Vec::new(), now_ns());
    while !is_told.load(Ordering::Relaxed) {
        let key = key(random.random_range(0..labour.keys));
        let is_read = random.random_bool(labour.reads);
        let began_ns = now_ns();
        match is_read {
            true => drop(client.block_on(client.get(&key))?),
            false => drop(client.block_on(client.put(&key, &value))?),
        }
        let now = now_ns();
        calls.push(Call { began_ns, took_ns: now - began_ns, is_read });
        // Nothing is made up for: a call that waits is one call that waits. Spinning, since a thread that sleeps measures how it is woken.
        next_ns = (next_ns + period).max(now.saturating_sub(period));
        while now_ns() < next_ns {
            std::hint::spin_loop();
        }
    }
    Ok(calls)
}
