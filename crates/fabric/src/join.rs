//! Waiting for several chains at once, and waiting with a deadline.

use crate::{Fabric, Nanos};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Waits for all of `futures`; answers come in the given order.
pub fn join_all<T: Future + Unpin>(futures: impl IntoIterator<Item = T>) -> JoinAll<T> {
    JoinAll { slots: futures.into_iter().map(Slot::Waiting).collect() }
}

/// See [`join_all`].
#[must_use = "futures do nothing unless awaited"]
pub struct JoinAll<T: Future> {
    slots: Vec<Slot<T>>,
}

enum Slot<T: Future> {
    Waiting(T),
    Done(Option<T::Output>),
}

impl<T: Future + Unpin> Future for JoinAll<T> {
    type Output = Vec<T::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<T::Output>> {
        let mut waiting = false;
        for slot in &mut self.slots {
            if let Slot::Waiting(future) = slot {
                match Pin::new(future).poll(cx) {
                    Poll::Ready(output) => *slot = Slot::Done(Some(output)),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting {
            return Poll::Pending;
        }
        let take = |slot: &mut Slot<T>| match slot {
            Slot::Done(output) => output.take().expect("a finished join is not polled again"),
            Slot::Waiting(_) => unreachable!("nothing waits"),
        };
        Poll::Ready(self.slots.iter_mut().map(take).collect())
    }
}

impl<T: Future> Unpin for JoinAll<T> {}

/// Waits for `inner`, but not longer than until `deadline`; `None` when that came first.
///
/// The inner future is polled first, so an operation that never has to wait never sets a timer.
pub async fn within<F: Fabric, T: Future>(fabric: &F, deadline: Nanos, inner: T) -> Option<T::Output> {
    let mut inner = std::pin::pin!(inner);
    let mut sleep: Option<F::Sleep> = None;
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = inner.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let sleep = sleep.get_or_insert_with(|| fabric.sleep_until(deadline));
        Pin::new(sleep).poll(cx).map(|()| None)
    })
    .await
}
