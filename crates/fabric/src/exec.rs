//! Running futures on the thread that owns a fabric.

use crate::Fabric;
use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

thread_local! {
    /// How many [`block_on`]s are on this thread's stack.
    static DRIVEN: Cell<u32> = const { Cell::new(0) };
}

/// Whether somebody on this thread calls [`Fabric::progress`] in a loop.
///
/// A completion that is polled elsewhere (on a foreign executor) makes progress itself and wakes its task at once.
pub fn is_driven() -> bool {
    DRIVEN.get() > 0
}

struct Flag {
    woken: AtomicBool,
    thread: Waker,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.thread.wake_by_ref();
        }
    }
}

struct Driving;

impl Driving {
    fn start() -> Driving {
        DRIVEN.set(DRIVEN.get() + 1);
        Driving
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        DRIVEN.set(DRIVEN.get() - 1);
    }
}

/// Runs `future` to its end on this thread: polls the fabric while it waits, and sleeps on the fabric's events once
/// polling has been fruitless for [`Fabric::spin`].
pub fn block_on<F: Fabric, T: Future>(fabric: &F, future: T) -> T::Output {
    drive(fabric, future, None).expect("without a limit it runs to the end")
}

/// As [`block_on`], but gives up after `limit` of real time.
pub fn block_on_for<F: Fabric, T: Future>(fabric: &F, limit: Duration, future: T) -> Option<T::Output> {
    drive(fabric, future, Some(Instant::now() + limit))
}

/// The longest sleep in one go: bounds the harm of a wake-up that a device lost.
const LONGEST_IDLE: Duration = Duration::from_millis(50);
/// Fruitless polls between two looks at the clock.
const POLLS_PER_CLOCK: u32 = 64;

fn drive<F: Fabric, T: Future>(fabric: &F, future: T, limit: Option<Instant>) -> Option<T::Output> {
    let _driving = Driving::start();
    let mut future = pin!(future);
    let flag = Arc::new(Flag { woken: AtomicBool::new(true), thread: fabric.waker() });
    let waker = Waker::from(flag.clone());
    let mut cx = Context::from_waker(&waker);
    let mut fruitless = 0u32;
    let mut spinning_since: Option<Instant> = None;
    loop {
        if flag.woken.swap(false, Ordering::AcqRel) {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Some(output);
            }
            fruitless = 0;
            spinning_since = None;
        }
        if fabric.progress() {
            continue;
        }
        std::hint::spin_loop();
        fruitless += 1;
        if !fruitless.is_multiple_of(POLLS_PER_CLOCK) {
            continue;
        }
        let now = Instant::now();
        if limit.is_some_and(|l| now >= l) {
            return None;
        }
        if now.duration_since(*spinning_since.get_or_insert(now)) >= fabric.spin()
            && !flag.woken.load(Ordering::Acquire)
        {
            let rest = limit.map_or(LONGEST_IDLE, |l| l.saturating_duration_since(now).min(LONGEST_IDLE));
            fabric.idle(rest);
        }
    }
}
