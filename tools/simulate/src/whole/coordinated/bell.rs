//! Waiting for something to change.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Rings for everybody who waits.
#[derive(Default)]
pub(super) struct Bell {
    rung: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.rung.set(self.rung.get() + 1);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    /// How often it has rung so far.
    pub(super) fn count(&self) -> u64 {
        self.rung.get()
    }

    /// Ends when it has rung more often than `count` times.
    pub(super) async fn after(&self, count: u64) {
        poll_fn(|cx| {
            if self.rung.get() > count {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
