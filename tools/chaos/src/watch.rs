//! What the coordinator says, over and over.

use crate::now_ns;
use anyhow::{Context, Result};
use farrow_control::Secret;
use farrow_control::coordination::{Ask, CoordinatorStatus, Tell};
use farrow_transport::Caller;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two questions.
const PERIOD: Duration = Duration::from_millis(5);

/// For an answer.
const PATIENCE: Duration = Duration::from_millis(200);

/// An answer, and when it was asked for: it is not older than that.
#[derive(Clone)]
pub struct Seen {
    /// By [`now_ns`].
    pub asked_ns: u64,
    /// The answer.
    pub status: Arc<CoordinatorStatus>,
}

/// Asks the coordinator for its status, in a thread of its own: one that is stopped answers late or never.
pub struct Watch {
    latest: Arc<Mutex<Option<Seen>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to ask.
    ///
    /// # Errors
    /// No thread.
    pub fn start(coordinators: Vec<String>, secret: Secret) -> Result<Watch> {
        let latest = Arc::new(Mutex::new(None));
        let is_over = Arc::new(AtomicBool::new(false));
        let (seen, over) = (latest.clone(), is_over.clone());
        let ask = move || {
            let mut caller = Caller::new(coordinators, secret, "chaos");
            while !over.load(Ordering::Relaxed) {
                let asked_ns = now_ns();
                if let Ok(Tell::Status(status)) = caller.call(&Ask::Status, PATIENCE) {
                    *seen.lock().expect("nobody panics with it") =
                        Some(Seen { asked_ns, status: status.into() });
                }
                thread::sleep(PERIOD);
            }
        };
        let thread = thread::Builder::new().name("watch".into()).spawn(ask).context("no thread")?;
        Ok(Watch { latest, is_over, thread: Some(thread) })
    }

    /// The latest answer, if there ever was one.
    pub fn latest(&self) -> Option<Seen> {
        self.latest.lock().expect("nobody panics with it").clone()
    }

    /// The latest answer, if it was asked for after `since_ns`.
    pub fn since(&self, since_ns: u64) -> Option<Arc<CoordinatorStatus>> {
        self.latest().filter(|seen| seen.asked_ns > since_ns).map(|seen| seen.status)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
