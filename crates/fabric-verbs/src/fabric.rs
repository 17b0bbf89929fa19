//! The fabric of one thread whose links are all RDMA.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use farrow_fabric::{Buffers, Corks, Fabric, Nanos, RealSleep, RealTime, Totals, TotalsCell};

use crate::connect::{ConnectError, Connecting};
use crate::engine::{Engine, EngineError, EngineOptions};
use crate::link::VerbsLink;
use crate::port::Port;

/// Links, buffers and time of one thread. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct VerbsFabric(Rc<Inner>);

struct Inner {
    time: RealTime,
    // Before the engine: buffers are registered in its domain.
    buffers: Buffers,
    totals: Rc<TotalsCell>,
    corks: Rc<Corks>,
    engine: Engine,
}

impl VerbsFabric {
    /// A fabric on `port` with at most `buffer_limit` bytes of buffers. Registers none yet.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(
        port: &Arc<Port>,
        options: EngineOptions,
        buffer_limit: usize,
    ) -> Result<VerbsFabric, EngineError> {
        let (totals, corks) = (Rc::<TotalsCell>::default(), Corks::new());
        let engine = Engine::new(port, options, Rc::clone(&totals), Rc::clone(&corks))?;
        let buffers = Buffers::new(Some(engine.registrar()), buffer_limit);
        Ok(VerbsFabric(Rc::new(Inner { time: RealTime::default(), buffers, totals, corks, engine })))
    }

    /// Begins a link.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(&self) -> Result<Connecting, ConnectError> {
        self.0.engine.connect()
    }

    /// What reaps the completions.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }
}

impl Fabric for VerbsFabric {
    type Link = VerbsLink;
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
        // Both, always: a busy queue must not keep timers waiting.
        self.0.engine.poll() | self.0.time.fire()
    }

    fn idle(&self, at_most: Duration) {
        let due = self.0.time.until_next().unwrap_or(at_most);
        self.0.engine.idle(due.min(at_most));
    }

    fn waker(&self) -> Waker {
        self.0.engine.waker()
    }

    fn spin(&self) -> Duration {
        self.0.engine.spin()
    }

    fn totals(&self) -> Totals {
        self.0.totals.get()
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.engine.fmt(f)
    }
}
