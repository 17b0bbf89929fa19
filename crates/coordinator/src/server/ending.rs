//! How a coordinator's life ends, and waiting for it.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// A coordinator met a fault in itself and stopped, so that nothing is decided on a state that may be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator met a fault in itself and stopped: {why}; please report it with the log")]
pub struct Failed {
    /// What it was.
    pub why: String,
}

/// Why a coordinator is to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its owner said so.
    Asked,
    /// The process was told to end.
    Signal(i32),
    /// A bug.
    Fault(String),
}

/// Says once that a coordinator is to stop.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    cause: Mutex<Option<Cause>>,
    is_told: Condvar,
}

impl Ending {
    /// The first cause counts.
    pub(crate) fn tell(&self, cause: Cause) {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        self.is_told.notify_all();
    }

    fn is_told(&self) -> bool {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn wait(&self) -> Cause {
        let told = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.is_told.wait_while(told, |cause| cause.is_none());
        told.unwrap_or_else(PoisonError::into_inner).clone().expect("waited until there is one")
    }

    /// Runs a part of the daemon; a panic in it ends the whole.
    pub(crate) fn guard(&self, part: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(part)) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let why = text.unwrap_or("a panic without words").to_owned();
            tracing::error!(why, "a fault in this program; stopping");
            self.tell(Cause::Fault(why));
        }
    }
}

/// Waits until `ending` is told, by SIGTERM or SIGINT if by nobody else. A second signal ends the process at once.
pub(crate) fn wait_for_signals(ending: &Arc<Ending>) -> io::Result<Cause> {
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
