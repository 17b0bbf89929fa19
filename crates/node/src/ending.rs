//! How a daemon's life ends, and waiting for it.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// A daemon met a fault in itself and stopped, so that nothing is decided on a state that may be wrong. Its log has more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon met a fault in itself and stopped: {why}; please report it with the log")]
pub struct Failed {
    /// What it was.
    pub why: String,
}

/// Why a daemon is to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its owner said so.
    Asked,
    /// The process was told to end.
    Signal(i32),
    /// The cluster goes on without this life of the memory.
    Deposed,
    /// A bug.
    Fault(String),
}

/// Says once that a daemon is to stop.
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

    pub(crate) fn is_told(&self) -> bool {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Why, if it is to stop.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn wait(&self) -> Cause {
        let told = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.is_told.wait_while(told, |cause| cause.is_none());
        told.unwrap_or_else(PoisonError::into_inner).clone().expect("waited until there is one")
    }
}

/// Waits until `ending` is told, by SIGTERM or SIGINT if by nobody else. A second signal ends the process at once.
/// `ready` is called once signals are heard.
pub(crate) fn wait_for_signals(ending: &Arc<Ending>, ready: impl FnOnce()) -> io::Result<Cause> {
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
