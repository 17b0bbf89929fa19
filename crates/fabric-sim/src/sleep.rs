//! Waiting for a time.

use crate::state::Shared;
use farrow_fabric::Nanos;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A timer on the agenda.
#[derive(Debug)]
pub(crate) struct Timer {
    /// Whose, and which of its timers.
    pub(crate) client: usize,
    pub(crate) number: usize,
    /// The step that set it.
    pub(crate) cause: u64,
    pub(crate) has_fired: Cell<bool>,
    pub(crate) is_cancelled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Timer {
    pub(crate) fn new(client: usize, number: usize, cause: u64) -> Timer {
        let (has_fired, is_cancelled) = (Cell::new(false), Cell::new(false));
        Timer { client, number, cause, has_fired, is_cancelled, waker: RefCell::default() }
    }

    pub(crate) fn fire(&self) {
        self.has_fired.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// See [`farrow_fabric::Fabric::sleep_until`].
pub struct SimSleep {
    pub(crate) shared: Shared,
    pub(crate) client: usize,
    pub(crate) at: Nanos,
    pub(crate) timer: Option<Rc<Timer>>,
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.borrow().now >= self.at || self.timer.as_ref().is_some_and(|t| t.has_fired.get()) {
            return Poll::Ready(());
        }
        // What is never due is not on the agenda, where it could happen early.
        if self.at == Nanos::NEVER {
            return Poll::Pending;
        }
        if self.timer.is_none() {
            let timer = self.shared.borrow_mut().add_timer(self.client, self.at);
            self.timer = Some(timer);
        }
        let timer = self.timer.as_ref().expect("just made");
        *timer.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.is_cancelled.set(true);
        }
    }
}
