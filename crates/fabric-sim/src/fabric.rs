//! The fabric of one simulated client.

use crate::choices::Point;
use crate::sleep::SimSleep;
use crate::state::{Client, Shared, Standing};
use crate::{SimLink, World};
use farrow_fabric::{Buffers, Corks, Fabric, Nanos, Totals, TotalsCell};
use farrow_layout::NodeId;
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
    totals: Rc<TotalsCell>,
    corks: Rc<Corks>,
}

impl SimFabric {
    pub(crate) fn new(shared: Shared, buffer_limit: usize) -> SimFabric {
        let client = {
            let mut state = shared.borrow_mut();
            state.clients.push(Client::default());
            state.clients.len() - 1
        };
        let buffers = Buffers::new(None, buffer_limit);
        SimFabric(Rc::new(Inner { shared, client, buffers, totals: Rc::default(), corks: Corks::new() }))
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
