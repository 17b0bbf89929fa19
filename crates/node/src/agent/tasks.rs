//! The orders that this node has, for the threads that carry them out.

use farrow_agent::Orders;
use farrow_control::coordination::{Order, Progress};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// [`Orders`], and waiting for them. Thread-safe.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    orders: Mutex<Orders>,
    changed: Condvar,
}

impl Tasks {
    /// As [`Orders::set`]; whoever waits is woken.
    pub(crate) fn set(&self, orders: Vec<Order>) {
        if self.orders().set(orders) {
            self.changed.notify_all();
        }
    }

    /// As [`Orders::progress`].
    pub(crate) fn progress(&self) -> Vec<Progress> {
        self.orders().progress()
    }

    /// As [`Orders::note`].
    pub(crate) fn note(&self, progress: Progress) {
        self.orders().note(progress);
    }

    /// As [`Orders::finish`].
    pub(crate) fn finish(&self, order: &Order) {
        self.orders().finish(order);
    }

    /// The first order of a kind, waiting for one at most so long.
    pub(crate) fn next(&self, at_most: Duration, is_mine: impl Fn(&Order) -> bool) -> Option<Order> {
        self.wait_for(at_most, is_mine).into_iter().next()
    }

    /// All orders of a kind, waiting for the first at most so long.
    pub(crate) fn wait_for(&self, at_most: Duration, is_mine: impl Fn(&Order) -> bool) -> Vec<Order> {
        let is_idle = |orders: &mut Orders| orders.waiting(&is_mine).is_empty();
        let waited = self.changed.wait_timeout_while(self.orders(), at_most, is_idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting(&is_mine)
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        // Each change is one step; a panic leaves none half done.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_control::coordination::{OrderId, Task};
    use farrow_layout::ClientId;

    fn order(id: u64, attempt: u32) -> Order {
        Order { id: OrderId(id), attempt, task: Task::RecoverClient { client: ClientId(1) } }
    }

    #[test]
    fn an_order_is_done_once_until_it_is_given_anew() {
        let tasks = Tasks::default();
        let any = |_: &Order| true;
        assert_eq!(tasks.next(Duration::ZERO, any), None);
        tasks.set(vec![order(1, 0), order(2, 0)]);
        tasks.finish(&order(1, 0));
        assert_eq!(tasks.next(Duration::ZERO, any), Some(order(2, 0)));
        assert_eq!(tasks.progress().len(), 2, "what is done here may not be known there");
        tasks.set(vec![order(1, 1), order(2, 0)]);
        assert_eq!(tasks.next(Duration::ZERO, any), Some(order(1, 1)));
        tasks.set(vec![]);
        assert_eq!(tasks.next(Duration::ZERO, any), None);
    }
}
