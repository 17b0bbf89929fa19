//! The fabric of one thread whose links are all shared memory.

use crate::host::ShmGrant;
use crate::link::ShmLink;
use crate::peer::ShmPeer;
use farrow_fabric::{Buffers, Corks, Fabric, Nanos, RealSleep, RealTime, Totals, TotalsCell};
use farrow_layout::NodeId;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

/// Links, buffers and time of one thread. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct ShmFabric(Rc<Inner>);

struct Inner {
    time: RealTime,
    buffers: Buffers,
    totals: Rc<TotalsCell>,
    corks: Rc<Corks>,
    bed: Arc<Bed>,
}

/// Chains complete when they are posted, so there is only another thread's wake-up to poll for.
const SPIN: Duration = Duration::from_micros(10);

impl ShmFabric {
    /// A fabric with at most `buffer_limit` bytes of buffers.
    pub fn new(buffer_limit: usize) -> ShmFabric {
        ShmFabric(Rc::new(Inner {
            time: RealTime::default(),
            buffers: Buffers::new(None, buffer_limit),
            totals: Rc::default(),
            corks: Corks::new(),
            bed: Arc::default(),
        }))
    }

    /// A link of this fabric to the node behind `peer`.
    pub fn link(&self, peer: &Arc<ShmPeer>, node: NodeId, grant: ShmGrant) -> ShmLink {
        peer.link(node, grant, self.0.totals.clone(), self.0.corks.clone())
    }
}

impl Fabric for ShmFabric {
    type Link = ShmLink;
    type Sleep = RealSleep;

    fn now(&self) -> Nanos {
        self.0.time.now()
    }

    fn sleep_until(&self, at: Nanos) -> RealSleep {
        self.0.time.sleep_until(at)
    }

    fn random(&self) -> u64 {
        self.0.time.random()
    }

    fn buffers(&self) -> &Buffers {
        &self.0.buffers
    }

    fn cork(&self) {
        self.0.corks.cork();
    }

    fn uncork(&self) {
        self.0.corks.uncork();
    }

    fn progress(&self) -> bool {
        self.0.time.fire()
    }

    fn idle(&self, at_most: Duration) {
        let due = self.0.time.until_next().unwrap_or(at_most);
        self.0.bed.sleep(due.min(at_most));
    }

    fn waker(&self) -> Waker {
        self.0.bed.clone().into()
    }

    fn spin(&self) -> Duration {
        SPIN
    }

    fn totals(&self) -> Totals {
        self.0.totals.get()
    }
}

/// Where the thread sleeps, and is woken once for each time that it was called.
#[derive(Default)]
struct Bed {
    is_called: Mutex<bool>,
    called: Condvar,
}

impl Bed {
    fn sleep(&self, at_most: Duration) {
        let is_called = self.is_called.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.called.wait_timeout_while(is_called, at_most, |is_called| !*is_called);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

impl Wake for Bed {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.is_called.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.called.notify_one();
    }
}
