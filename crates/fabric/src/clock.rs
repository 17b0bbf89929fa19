//! Real time: the clock and the timers of providers that are not simulated.

use crate::is_driven;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Add;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Nanoseconds of a fabric's own monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Later than anything.
    pub const NEVER: Nanos = Nanos(u64::MAX);

    /// Nanoseconds from `earlier` to `self`, or 0.
    pub fn since(self, earlier: Nanos) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Nanos {
    type Output = Nanos;

    fn add(self, d: Duration) -> Nanos {
        Nanos(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Clock, timers and randomness of one thread.
#[derive(Clone, Debug)]
pub struct RealTime(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    random: Cell<u64>,
    next_id: Cell<u64>,
    /// Ordered by due time; the second part makes keys unique.
    timers: RefCell<BTreeMap<(Nanos, u64), Waker>>,
}

impl Default for RealTime {
    fn default() -> Self {
        // The standard library seeds its hasher from the operating system: good enough for jitter and client ids.
        let seed = RandomState::new().hash_one(std::process::id());
        RealTime(Rc::new(Inner {
            start: *PROCESS_START,
            random: Cell::new(seed | 1),
            next_id: Cell::new(0),
            timers: RefCell::default(),
        }))
    }
}

/// One origin for all threads of a process, so that their times compare.
static PROCESS_START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

impl RealTime {
    /// Nanoseconds since the process first asked.
    pub fn now(&self) -> Nanos {
        Nanos(self.0.start.elapsed().as_nanos() as u64)
    }

    /// 64 random bits (SplitMix64 over an operating system's seed). Not for secrets.
    pub fn random(&self) -> u64 {
        let state = self.0.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.random.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A future that completes at `at`.
    pub fn sleep_until(&self, at: Nanos) -> RealSleep {
        RealSleep { time: self.clone(), at, timer: None }
    }

    /// Wakes the sleepers that are due; `true` if there were any.
    pub fn fire(&self) -> bool {
        if self.0.timers.borrow().is_empty() {
            return false;
        }
        let now = self.now();
        let mut fired = false;
        loop {
            let mut timers = self.0.timers.borrow_mut();
            let Some(first) = timers.first_entry().filter(|e| e.key().0 <= now) else {
                return fired;
            };
            let waker = first.remove();
            drop(timers);
            waker.wake();
            fired = true;
        }
    }

    /// How long until the next timer is due.
    pub fn until_next(&self) -> Option<Duration> {
        let (due, _) = *self.0.timers.borrow().first_key_value()?.0;
        Some(Duration::from_nanos(due.since(self.now())))
    }
}

/// See [`RealTime::sleep_until`].
#[derive(Debug)]
pub struct RealSleep {
    time: RealTime,
    at: Nanos,
    timer: Option<u64>,
}

impl Future for RealSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.time.now() >= self.at {
            return Poll::Ready(());
        }
        if !is_driven() {
            // Nobody fires timers here: the foreign executor polls us until the time has come.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let inner = self.time.0.clone();
        let id = *self.timer.get_or_insert_with(|| {
            inner.next_id.set(inner.next_id.get() + 1);
            inner.next_id.get()
        });
        inner.timers.borrow_mut().insert((self.at, id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for RealSleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            self.time.0.timers.borrow_mut().remove(&(self.at, id));
        }
    }
}
