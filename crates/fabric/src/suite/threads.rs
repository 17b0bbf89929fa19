//! Agents on threads, for worlds of real time.

use super::{Agent, Seat};
use crate::{Fabric, block_on_for};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a clause may take before it counts as hung.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs each agent on a thread of its own, in the seat that `seat` makes on that thread.
///
/// # Panics
/// With the first panic of an agent; the others are stopped then. Also if an agent has not ended after minutes.
pub fn run_threads<F: Fabric>(agents: Vec<Agent<F>>, seat: impl Fn() -> Seat<F> + Sync) {
    let has_failed = AtomicBool::new(false);
    let panics: Vec<_> = std::thread::scope(|scope| {
        let run = |agent: Agent<F>| {
            let (seat, has_failed) = (&seat, &has_failed);
            scope.spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let seat = seat();
                    let fabric = seat.fabric.clone();
                    let stoppable = Stoppable { agent: agent(seat), has_failed };
                    block_on_for(&fabric, LIMIT, stoppable).expect("an agent of the suite hangs")
                }));
                if outcome.is_err() {
                    has_failed.store(true, Ordering::SeqCst);
                }
                outcome
            })
        };
        let threads: Vec<_> = agents.into_iter().map(run).collect();
        threads.into_iter().filter_map(|t| t.join().expect("panics are caught").err()).collect()
    });
    if let Some(panic) = panics.into_iter().next() {
        resume_unwind(panic);
    }
}

/// An agent that ends early once another has failed: it might wait for that one for ever.
struct Stoppable<'a> {
    agent: Pin<Box<dyn Future<Output = ()>>>,
    has_failed: &'a AtomicBool,
}

impl Future for Stoppable<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_failed.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        self.agent.as_mut().poll(cx)
    }
}
