//! The orders that a node has, and how far it is with them: what the daemon does with a condition variable, done with a bell.

use super::bell::Bell;
use super::cluster::Cluster;
use farrow_control::coordination::{Order, OrderId, Progress};
use farrow_fabric::within;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Default)]
pub(super) struct Orders {
    orders: RefCell<Vec<Order>>,
    progress: RefCell<BTreeMap<OrderId, Progress>>,
    finished: RefCell<BTreeSet<(OrderId, u32)>>,
    changed: Bell,
}

impl Orders {
    pub(super) fn set(&self, orders: Vec<Order>) {
        if *self.orders.borrow() == orders {
            return;
        }
        let is_there = |id: OrderId| orders.iter().any(|order| order.id == id);
        self.progress.borrow_mut().retain(|id, _| is_there(*id));
        self.finished.borrow_mut().retain(|(id, _)| is_there(*id));
        *self.orders.borrow_mut() = orders;
        self.changed.ring();
    }

    pub(super) fn progress(&self) -> Vec<Progress> {
        let progress = self.progress.borrow();
        let of = |order: &Order| {
            let none = Progress { order: order.id, done: 0, total: 0 };
            progress.get(&order.id).copied().unwrap_or(none)
        };
        self.orders.borrow().iter().map(of).collect()
    }

    pub(super) fn note(&self, progress: Progress) {
        self.progress.borrow_mut().insert(progress.order, progress);
    }

    pub(super) fn finish(&self, order: &Order) {
        self.finished.borrow_mut().insert((order.id, order.attempt));
    }

    /// All orders of a kind, waiting for the first at most so long.
    pub(super) async fn wait_for(
        &self,
        cluster: &Cluster,
        at_most: Duration,
        is_mine: impl Fn(&Order) -> bool,
    ) -> Vec<Order> {
        let waiting = || -> Vec<Order> {
            let finished = self.finished.borrow();
            let is_open = |order: &&Order| !finished.contains(&(order.id, order.attempt));
            self.orders.borrow().iter().filter(|order| is_mine(order)).filter(is_open).cloned().collect()
        };
        let coming = async {
            while waiting().is_empty() {
                self.changed.after(self.changed.count()).await;
            }
        };
        within(&cluster.time, cluster.now() + at_most, coming).await;
        waiting()
    }
}
