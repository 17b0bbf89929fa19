//! The fabric of one simulated client.

use crate::choices::Point;
use crate::sleep::SimSleep;
use crate::state::{Client, Shared, Standing};
use crate::{Pace, SimLink, World};
use farrow_fabric::{Buffers, Corks, Fabric, Nanos, Totals, TotalsCell};
use farrow_layout::NodeId;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

/// Links, buffers, time and randomness of one client. Clones are the same.
#[derive(Clone)]
pub struct SimFabric(Rc<Inner>);

struct Inner {
    shared: Shared,
    client: usize,
    buffers: Buffers,
    /// The limit of buffers that another fabric may use once this one is gone.
    kept: Option<usize>,
    totals: Rc<TotalsCell>,
    corks: Rc<Corks>,
}

thread_local! {
    static POOLS: RefCell<Pools> = const { RefCell::new(Pools(Vec::new())) };
}

/// Pools of fabrics that are gone, with their limits.
struct Pools(Vec<(usize, Buffers)>);

/// More than any search has at a time.
const MOST_POOLS: usize = 16;

impl Pools {
    fn take(&mut self, limit: usize) -> Option<Buffers> {
        let index = self.0.iter().rposition(|(other, _)| *other == limit)?;
        Some(self.0.swap_remove(index).1)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(limit) = self.kept else { return };
        // A thread that ends may have lost its pools already.
        let _ = POOLS.try_with(|pools| {
            let mut pools = pools.borrow_mut();
            if pools.0.len() < MOST_POOLS {
                pools.0.push((limit, self.buffers.clone()));
            }
        });
    }
}

impl SimFabric {
    pub(crate) fn new(shared: Shared, buffer_limit: usize) -> SimFabric {
        let client = {
            let mut state = shared.borrow_mut();
            state.clients.push(Client::default());
            state.clients.len() - 1
        };
        // Mapping memory takes longer than a small run. What buffers hold when they are taken is nobody's business.
        let is_reused = shared.borrow().options.pace == Pace::Chosen;
        let kept = if is_reused { POOLS.with_borrow_mut(|pools| pools.take(buffer_limit)) } else { None };
        let buffers = kept.unwrap_or_else(|| Buffers::new(None, buffer_limit));
        let kept = is_reused.then_some(buffer_limit);
        SimFabric(Rc::new(Inner {
            shared,
            client,
            buffers,
            kept,
            totals: Rc::default(),
            corks: Corks::new(),
        }))
    }

    /// The client's number, in the order in which fabrics were made.
    pub fn client(&self) -> usize {
        self.0.client
    }

    /// A new link to `node`.
    pub fn link(&self, node: NodeId) -> SimLink {
        self.link_with(node, Standing::Up)
    }

    /// A new link to `node` with a key that the node never gave.
    pub fn link_with_wrong_key(&self, node: NodeId) -> SimLink {
        self.link_with(node, Standing::WrongKey)
    }

    fn link_with(&self, node: NodeId, standing: Standing) -> SimLink {
        let inner = &self.0;
        let link =
            inner.shared.borrow_mut().add_link(inner.client, usize::from(node.0), standing, &inner.totals);
        SimLink::new(inner.shared.clone(), link, node, inner.totals.clone(), inner.corks.clone())
    }
}

impl Fabric for SimFabric {
    type Link = SimLink;
    type Sleep = SimSleep;

    fn now(&self) -> Nanos {
        self.0.shared.borrow().now
    }

    fn sleep_until(&self, at: Nanos) -> SimSleep {
        SimSleep { shared: self.0.shared.clone(), client: self.0.client, at, timer: None }
    }

    fn random(&self) -> u64 {
        let mut state = self.0.shared.borrow_mut();
        let mut half = || state.choices.below(1 << 32, Point::Random);
        half() << 32 | half()
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

    /// Lets one event happen that is not a task's: so a plain [`farrow_fabric::block_on`] works as well.
    fn progress(&self) -> bool {
        World::of(self.0.shared.clone()).step_without_tasks()
    }

    fn idle(&self, _: Duration) {}

    fn waker(&self) -> Waker {
        Waker::noop().clone()
    }

    fn spin(&self) -> Duration {
        Duration::MAX
    }

    fn totals(&self) -> Totals {
        self.0.totals.get()
    }
}
