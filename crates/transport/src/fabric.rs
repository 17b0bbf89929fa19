//! The fabric of one thread, whatever its links are.

use crate::{AnyLink, Rdma};
use farrow_fabric::{Buffers, Corks, Fabric, Nanos, RealSleep, RealTime, Totals, TotalsCell};
use farrow_fabric_verbs::{Engine, EngineOptions};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

/// How a thread's fabric behaves.
#[derive(Clone, Debug)]
pub struct FabricOptions {
    /// Registered memory that the thread may use for operations in flight, in bytes.
    pub buffer_limit: usize,
    /// How long to poll before sleeping, over shared memory; RDMA devices know better themselves.
    pub spin: Duration,
    /// The process's end of RDMA, if any node is reached so.
    pub rdma: Option<Rdma>,
    /// Links that the thread will have.
    pub max_links: u32,
}

impl Default for FabricOptions {
    fn default() -> Self {
        FabricOptions { buffer_limit: 256 << 20, spin: Duration::from_micros(50), rdma: None, max_links: 64 }
    }
}

/// Links, buffers and time of one thread. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct AnyFabric(Rc<Inner>);

struct Inner {
    time: RealTime,
    // Before the engine: buffers are registered with its device.
    buffers: Buffers,
    totals: Rc<TotalsCell>,
    corks: Rc<Corks>,
    engine: Option<Engine>,
    bed: Arc<Bed>,
    spin: Duration,
}

impl AnyFabric {
    /// A fabric for this thread.
    ///
    /// # Errors
    /// In words: the RDMA device's, where one is wanted.
    pub fn new(options: &FabricOptions) -> Result<AnyFabric, String> {
        let (totals, corks) = (Rc::<TotalsCell>::default(), Corks::new());
        let engine = match options.rdma.as_ref().and_then(|rdma| Some((rdma, rdma.port()?))) {
            None => None,
            Some((rdma, port)) => {
                let link = rdma.link_options(&port);
                let engine = EngineOptions { max_links: options.max_links.max(1), link, spin: None };
                Some(Engine::new(&port, engine, totals.clone(), corks.clone()).map_err(|e| e.to_string())?)
            }
        };
        let registrar = engine.as_ref().map(Engine::registrar);
        Ok(AnyFabric(Rc::new(Inner {
            time: RealTime::default(),
            buffers: Buffers::new(registrar, options.buffer_limit),
            totals,
            corks,
            spin: engine.as_ref().map_or(options.spin, Engine::spin),
            engine,
            bed: Arc::default(),
        })))
    }

    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.0.engine.as_ref()
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
        // Both, always: a busy device must not hold up timers.
        let reaped = self.0.engine.as_ref().is_some_and(Engine::poll);
        self.0.time.fire() || reaped
    }

    fn idle(&self, at_most: Duration) {
        let due = self.0.time.until_next().unwrap_or(at_most);
        match &self.0.engine {
            Some(engine) => engine.idle(due.min(at_most)),
            None => self.0.bed.sleep(due.min(at_most)),
        }
    }

    fn waker(&self) -> Waker {
        match &self.0.engine {
            Some(engine) => engine.waker(),
            None => self.0.bed.clone().into(),
        }
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
