//! The orders that a node has: what the daemon waits for with a condition variable, waited for with a bell.

use super::bell::Bell;
use super::cluster::Cluster;
use farrow_control::coordination::{Order, Progress};
use farrow_fabric::within;
use std::cell::RefCell;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Orders {
    orders: RefCell<farrow_agent::Orders>,
    changed: Bell,
}

impl Orders {
    pub(super) fn set(&self, orders: Vec<Order>) {
        if self.orders.borrow_mut().set(orders) {
            self.changed.ring();
        }
    }

    pub(super) fn progress(&self) -> Vec<Progress> {
        self.orders.borrow().progress()
    }

    pub(super) fn note(&self, progress: Progress) {
        self.orders.borrow_mut().note(progress);
    }

    pub(super) fn finish(&self, order: &Order) {
        self.orders.borrow_mut().finish(order);
    }

    /// All orders of a kind, waiting for the first at most so long.
    pub(super) async fn wait_for(
        &self,
        cluster: &Cluster,
        at_most: Duration,
        is_mine: impl Fn(&Order) -> bool,
    ) -> Vec<Order> {
        let coming = async {
            while self.orders.borrow().waiting(&is_mine).is_empty() {
                self.changed.after(self.changed.count()).await;
            }
        };
        within(&cluster.time, cluster.now() + at_most, coming).await;
        self.orders.borrow().waiting(&is_mine)
    }
}
