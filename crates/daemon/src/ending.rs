//! How a daemon's life ends, and waiting for it.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Why a daemon is to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause<A = ()> {
    /// A part of it said so.
    Asked(A),
    /// The process was told to end.
    Signal(i32),
    /// A bug.
    Fault(String),
}

/// Says once that a daemon is to stop. `A` is what its own parts may say.
#[derive(Debug)]
pub struct Ending<A = ()> {
    cause: Mutex<Option<Cause<A>>>,
    is_told: Condvar,
}

impl<A> Default for Ending<A> {
    fn default() -> Self {
        Ending { cause: Mutex::default(), is_told: Condvar::default() }
    }
}

impl<A: Clone> Ending<A> {
    /// The first cause counts.
    pub fn tell(&self, cause: Cause<A>) {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        self.is_told.notify_all();
    }

    /// Whether it is to stop.
    pub fn is_told(&self) -> bool {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Why, if it is to stop.
    pub fn cause(&self) -> Option<Cause<A>> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it is to stop.
    pub fn wait(&self) -> Cause<A> {
        let told = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.is_told.wait_while(told, |cause| cause.is_none());
        told.unwrap_or_else(PoisonError::into_inner).clone().expect("waited until there is one")
    }
}

/// Runs a part of a daemon. What a panic in it said, if there was one: a lock may be held by nobody, so the daemon has to end as a
/// whole.
pub fn caught(part: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(part)).err()?;
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let why = text.unwrap_or("a panic without words").to_owned();
    tracing::error!(why, "a fault in this program; stopping");
    Some(why)
}

/// Waits until `ending` is told, by SIGTERM or SIGINT if by nobody else. A second signal ends the process at once.
/// `ready` is called once signals are heard.
///
/// # Errors
/// Signals cannot be heard.
pub fn wait_for_signals<A: Clone + Send + 'static>(
    ending: &Arc<Ending<A>>,
    ready: impl FnOnce(),
) -> io::Result<Cause<A>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    let teller = ending.clone();
    let thread = thread::Builder::new().name("farrow-signals".into()).spawn(move || {
        for signal in signals.forever() {
            if teller.is_told() {
                // The orderly stop hangs or takes longer than somebody is willing to wait.
                std::process::exit(128 + signal);
            }
            teller.tell(Cause::Signal(signal));
        }
    })?;
    ready();
    let cause = ending.wait();
    if matches!(cause, Cause::Signal(_)) {
        // The thread keeps listening while the daemon stops; it ends with the process.
        drop(thread);
    } else {
        handle.close();
        let _ = thread.join();
    }
    Ok(cause)
}
