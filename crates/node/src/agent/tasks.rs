//! The orders that this node has, and how far it is with them.

use farrow_control::coordination::{Order, OrderId, Progress};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Orders as the coordinator told them last. Thread-safe.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    orders: Vec<Order>,
    progress: BTreeMap<OrderId, Progress>,
    /// Done or given up here; the coordinator may not know yet.
    finished: BTreeSet<(OrderId, u32)>,
}

impl Tasks {
    /// All orders that there are now.
    pub(crate) fn set(&self, orders: Vec<Order>) {
        let mut state = self.state();
        if state.orders == orders {
            return;
        }
        let is_there = |id: OrderId| orders.iter().any(|order| order.id == id);
        state.progress.retain(|id, _| is_there(*id));
        state.finished.retain(|(id, _)| is_there(*id));
        state.orders = orders;
        self.changed.notify_all();
    }

    /// For the next renewal: every order that is known here.
    pub(crate) fn progress(&self) -> Vec<Progress> {
        let state = self.state();
        let of = |order: &Order| {
            let none = Progress { order: order.id, done: 0, total: 0 };
            state.progress.get(&order.id).copied().unwrap_or(none)
        };
        state.orders.iter().map(of).collect()
    }

    /// How far an order is.
    pub(crate) fn note(&self, progress: Progress) {
        self.state().progress.insert(progress.order, progress);
    }

    /// An order needs nothing more from here.
    pub(crate) fn finish(&self, order: &Order) {
        self.state().finished.insert((order.id, order.attempt));
    }

    /// The first order of a kind, waiting for one at most so long.
    pub(crate) fn next(&self, at_most: Duration, is_mine: impl Fn(&Order) -> bool) -> Option<Order> {
        self.wait_for(at_most, is_mine).into_iter().next()
    }

    /// All orders of a kind, waiting for the first at most so long.
    pub(crate) fn wait_for(&self, at_most: Duration, is_mine: impl Fn(&Order) -> bool) -> Vec<Order> {
        let waiting = |state: &State| -> Vec<Order> {
            let is_open = |order: &&Order| !state.finished.contains(&(order.id, order.attempt));
            state.orders.iter().filter(|order| is_mine(order)).filter(is_open).cloned().collect()
        };
        let waited = self.changed.wait_timeout_while(self.state(), at_most, |s| waiting(s).is_empty());
        waiting(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step; a panic leaves none half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_control::coordination::Task;
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
