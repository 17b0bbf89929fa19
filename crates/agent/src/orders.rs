//! The orders that an agent has, and how far it is with them.

use farrow_control::coordination::{Order, OrderId, Progress};
use std::collections::{BTreeMap, BTreeSet};

/// Orders as the coordinator told them last.
#[derive(Debug, Default)]
pub struct Orders {
    orders: Vec<Order>,
    progress: BTreeMap<OrderId, Progress>,
    /// Done or given up here; the coordinator may not know yet.
    finished: BTreeSet<(OrderId, u32)>,
}

impl Orders {
    /// All orders that there are now. Whether they are others than before.
    pub fn set(&mut self, orders: Vec<Order>) -> bool {
        if self.orders == orders {
            return false;
        }
        let is_there = |id: OrderId| orders.iter().any(|order| order.id == id);
        self.progress.retain(|id, _| is_there(*id));
        self.finished.retain(|(id, _)| is_there(*id));
        self.orders = orders;
        true
    }

    /// For the next renewal: every order that is known here.
    pub fn progress(&self) -> Vec<Progress> {
        let of = |order: &Order| {
            let none = Progress { order: order.id, done: 0, total: 0 };
            self.progress.get(&order.id).copied().unwrap_or(none)
        };
        self.orders.iter().map(of).collect()
    }

    /// How far an order is.
    pub fn note(&mut self, progress: Progress) {
        self.progress.insert(progress.order, progress);
    }

    /// An order needs nothing more from here.
    pub fn finish(&mut self, order: &Order) {
        self.finished.insert((order.id, order.attempt));
    }

    /// All orders of a kind that need something.
    pub fn waiting(&self, is_mine: impl Fn(&Order) -> bool) -> Vec<Order> {
        let is_open = |order: &&Order| !self.finished.contains(&(order.id, order.attempt));
        self.orders.iter().filter(|order| is_mine(order)).filter(is_open).cloned().collect()
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
    fn the_same_orders_again_are_no_news_and_keep_what_was_done() {
        let mut it = Orders::default();
        assert!(it.set(vec![order(1, 0), order(2, 0)]));
        it.finish(&order(1, 0));
        assert!(!it.set(vec![order(1, 0), order(2, 0)]));
        assert_eq!(it.waiting(|_| true), [order(2, 0)]);
        assert!(it.set(vec![order(1, 1), order(2, 0)]));
        assert_eq!(it.waiting(|_| true), [order(1, 1), order(2, 0)]);
    }
}
