//! What a client does until it is told to stop: YCSB's mixes A and B, on keys that are given up every now and then.

use crate::storm::{Deed, Hand};
use crate::{Storm, Tally, now_ns};
use farrow_client::LocalClient;
use rand::Rng;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Share of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Half of the calls read.
    A,
    /// Nineteen of twenty calls read.
    B,
}

/// How a client works.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Share of reads.
    pub mix: Mix,
    /// Calls a second, at most.
    pub rate: f64,
    /// After so long all clients go on to fresh keys. Calls whose outcome nobody knows add up over a run, and judging a key
    /// takes exponentially longer with each.
    pub fresh_keys: Duration,
}

impl Mix {
    fn reads(self) -> f64 {
        match self {
            Mix::A => 0.5,
            Mix::B => 0.95,
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mix::A => "a",
            Mix::B => "b",
        })
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        match text {
            "a" | "A" => Ok(Mix::A),
            "b" | "B" => Ok(Mix::B),
            _ => Err("there are a (half reads) and b (95 % reads)".to_owned()),
        }
    }
}

/// Works until `is_told`, and writes down every call. `number` must be this client's alone.
///
/// # Errors
/// When the record cannot be written.
pub fn labour<W: io::Write>(
    client: &LocalClient,
    storm: &Storm,
    work: &Work,
    number: u32,
    record: W,
    is_told: &AtomicBool,
) -> io::Result<Tally> {
    let mut hand = Hand::new(client, storm, number, record);
    let mut random = storm.random(number);
    let period = (1e9 / work.rate) as u64;
    let mut next_ns = now_ns();
    let mut generation = 0;
    while !is_told.load(Ordering::Relaxed) {
        // One clock for all processes, so all go on to the next keys together.
        let current = now_ns() / work.fresh_keys.as_nanos() as u64;
        if current != std::mem::replace(&mut generation, current) {
            hand.forget();
        }
        let key = format!("chaos-{generation}-{}", random.random_range(0..storm.keys)).into_bytes();
        let deed = match random.random_bool(work.mix.reads()) {
            true => Deed::Get,
            false => match random.random_range(0..16) {
                0 => Deed::Delete,
                1 => Deed::PutIfAbsent,
                2 | 3 => Deed::PutIfVersion,
                4 => Deed::DeleteIfVersion,
                _ => Deed::Put,
            },
        };
        hand.perform(&key, deed)?;
        // What was missed is not made up for.
        let now = now_ns();
        next_ns = (next_ns + period).max(now.saturating_sub(period));
        if next_ns > now {
            std::thread::sleep(Duration::from_nanos(next_ns - now));
        }
    }
    Ok(hand.done())
}
