//! Messages between machines, which partitions stop in one direction or both.

use super::cluster::Cluster;
use farrow_fabric::{Fabric, Nanos};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// Who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The coordinator.
    Office,
    /// A machine that runs memory nodes, one after the other.
    Machine(usize),
    /// A client process.
    Process(usize),
}

/// What is cut, and how long a message takes.
pub(super) struct Net {
    cut: RefCell<BTreeSet<(Party, Party)>>,
    way_ns: u64,
}

impl Net {
    pub(super) fn new(way_ns: u64) -> Net {
        Net { cut: RefCell::default(), way_ns }
    }

    pub(super) fn cut(&self, from: Party, to: Party) {
        self.cut.borrow_mut().insert((from, to));
    }

    pub(super) fn heal(&self, from: Party, to: Party) {
        self.cut.borrow_mut().remove(&(from, to));
    }

    pub(super) fn heal_all(&self) {
        self.cut.borrow_mut().clear();
    }

    /// Whether a message gets there.
    pub(super) fn carries(&self, from: Party, to: Party) -> bool {
        from == to || !self.cut.borrow().contains(&(from, to))
    }

    /// Whether anything of a party's is cut.
    pub(super) fn is_touched(&self, party: Party) -> bool {
        self.cut.borrow().iter().any(|(from, to)| *from == party || *to == party)
    }
}

impl Cluster {
    /// A message takes a while; whether it arrives.
    pub(super) async fn travel(&self, from: Party, to: Party) -> bool {
        if !self.net.carries(from, to) {
            return false;
        }
        self.sleep(1 + self.world.draw(self.net.way_ns + 1)).await;
        self.net.carries(from, to)
    }

    /// Waits so long in true time.
    pub(super) async fn sleep(&self, ns: u64) {
        self.time.sleep_until(self.now() + Duration::from_nanos(ns)).await;
    }

    pub(super) fn now(&self) -> Nanos {
        self.time.now()
    }

    /// A task of nobody's machine: a message under way, memory that looks at its lease.
    pub(super) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        self.world.spawn(&self.time, task);
    }
}
