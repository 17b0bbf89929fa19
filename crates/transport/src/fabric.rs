//! The fabric of one thread, whatever its links are.

use crate::AnyLink;
use farrow_fabric::{Buffers, Corks, Fabric, Nanos, RealSleep, RealTime, Totals, TotalsCell};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

/// How a thread's fabric behaves.
#[derive(Clone, Debug)]
pub struct FabricOptions {
    /// Registered memory that the thread may use for operations in flight, in bytes.
    pub buffer_limit: usize,
    /// How long to poll before sleeping.
    pub spin: Duration,
}

impl Default for FabricOptions {
    fn default() -> Self {
        FabricOptions { buffer_limit: 256 << 20, spin: Duration::from_micros(50) }
    }
}

/// Links, buffers and time of one thread. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct AnyFabric(Rc<Inner>);

struct Inner {
    time: RealTime,
    buffers: Buffers,
    totals: Rc<TotalsCell>,
    corks: Rc<Corks>,
    bed: Arc<Bed>,
    spin: Duration,
}

impl AnyFabric {
    /// A fabric for this thread.
    pub fn new(options: &FabricOptions) -> AnyFabric {
        AnyFabric(Rc::new(Inner {
            time: RealTime::default(),
            buffers: Buffers::new(None, options.buffer_limit),
            totals: Rc::default(),
            corks: Corks::new(),
            bed: Arc::default(),
            spin: options.spin,
        }))
    }

    pub(crate) fn totals_cell(&self) -> Rc<TotalsCell> {
        self.0.totals.clone()
    }

    pub(crate) fn corks(&self) -> Rc<Corks> {
        self.0.corks.clone()
    }
}

impl Fabric for AnyFabric {
    type Link = AnyLink;
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
        self.0.spin
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
