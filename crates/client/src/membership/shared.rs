//! A task that several operations wait for, and that outlives any of them.

use super::Waiting;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// At most one task at a time. Whoever waits drives it; an operation that is cut off leaves it as it is, for the next one: a
/// task that takes longer than a deadline would never end otherwise.
pub(super) struct Shared<T> {
    task: RefCell<Option<Waiting<T>>>,
    /// Counts the tasks that have ended.
    ended: Cell<u64>,
    waiters: RefCell<Vec<Waker>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Shared { task: RefCell::default(), ended: Cell::default(), waiters: RefCell::default() }
    }
}

/// The task knows only the last one who polled it: when that one goes, the others have to look for themselves.
struct WakesOthers<'a, T>(&'a Shared<T>);

impl<T> Drop for WakesOthers<'_, T> {
    fn drop(&mut self) {
        self.0.waiters.take().into_iter().for_each(Waker::wake);
    }
}

impl<T> Shared<T> {
    /// Waits for the task that is there, or else starts one. `done` is called once a task, by whoever sees its end.
    pub(super) async fn join(&self, start: impl FnOnce() -> Waiting<T>, done: impl Fn(T)) {
        if self.task.borrow().is_none() {
            *self.task.borrow_mut() = Some(start());
        }
        let ended = self.ended.get();
        let _others = WakesOthers(self);
        poll_fn(|cx| {
            if self.ended.get() != ended {
                return Poll::Ready(());
            }
            let mut task = self.task.borrow_mut();
            let polled = task.as_mut().map(|task| task.as_mut().poll(cx));
            match polled {
                Some(Poll::Ready(result)) => {
                    *task = None;
                    drop(task);
                    self.ended.set(ended + 1);
                    done(result);
                    Poll::Ready(())
                }
                _ => {
                    let mut waiters = self.waiters.borrow_mut();
                    if !waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
                        waiters.push(cx.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await;
    }

    /// Forgets the task: its result would be of no use to anybody any more.
    pub(super) fn forget(&self) {
        self.task.take();
        self.ended.set(self.ended.get() + 1);
        self.waiters.take().into_iter().for_each(Waker::wake);
    }
}

/// Waits for whichever ends first; `true` if that is `one`.
pub(super) async fn first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) -> bool {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    poll_fn(move |cx| {
        if one.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        other.as_mut().poll(cx).map(|()| false)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::Context;

    #[test]
    fn a_task_outlives_the_one_who_started_it_and_ends_once_for_all() {
        let (shared, gate) = (Shared::default(), Rc::new(Cell::new(false)));
        let started = Cell::new(0);
        let (seen, cx) = (RefCell::new(Vec::new()), &mut Context::from_waker(Waker::noop()));
        let start = || -> Waiting<u32> {
            started.set(started.get() + 1);
            let gate = gate.clone();
            Box::pin(poll_fn(move |_| if gate.get() { Poll::Ready(7) } else { Poll::Pending }))
        };
        {
            let mut first = pin!(shared.join(start, |n| seen.borrow_mut().push(n)));
            assert!(first.as_mut().poll(cx).is_pending());
        }
        let mut second = pin!(shared.join(start, |n| seen.borrow_mut().push(n)));
        let mut third = pin!(shared.join(start, |n| seen.borrow_mut().push(n)));
        assert!(second.as_mut().poll(cx).is_pending() && third.as_mut().poll(cx).is_pending());
        gate.set(true);
        assert!(third.as_mut().poll(cx).is_ready() && second.as_mut().poll(cx).is_ready());
        assert_eq!((started.get(), seen.take()), (1, vec![7]));
    }
}
