//! A link of the simulator.

use crate::chain_run::{ChainRun, Waiting};
use crate::state::{Shared, Standing};
use farrow_fabric::{Answers, Caps, Chain, Corks, Link, Staged, TotalsCell, VerbError, Why};
use farrow_layout::NodeId;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A link to a simulated node. Clones are the same link.
#[derive(Clone)]
pub struct SimLink(Rc<Inner>);

/// The answer to a chain, to be awaited.
#[must_use = "the chain is posted; this is its answer"]
pub struct SimCompletion(Rc<Waiting>);

struct Inner {
    shared: Shared,
    link: usize,
    node: NodeId,
    totals: Rc<TotalsCell>,
    corks: Rc<Corks>,
    /// Chains that wait for their doorbell.
    staged: RefCell<Vec<ChainRun>>,
    is_staged: Cell<bool>,
}

impl SimLink {
    pub(crate) fn new(
        shared: Shared,
        link: usize,
        node: NodeId,
        totals: Rc<TotalsCell>,
        corks: Rc<Corks>,
    ) -> SimLink {
        let (staged, is_staged) = (RefCell::default(), Cell::new(false));
        SimLink(Rc::new(Inner { shared, link, node, totals, corks, staged, is_staged }))
    }

    /// The link's number, for faults.
    pub fn number(&self) -> usize {
        self.0.link
    }

    fn refusal(&self, chain: &Chain) -> Option<Why> {
        if !self.is_up() {
            return Some(Why::LinkDown);
        }
        chain.refusal(self.caps().memory_len)
    }
}

impl Link for SimLink {
    type Completion = SimCompletion;

    fn post(&self, chain: Chain) -> SimCompletion {
        let inner = &self.0;
        if let Some(why) = self.refusal(&chain) {
            let waiting = Rc::<Waiting>::default();
            waiting.answer(Err(VerbError::refused(inner.node, why)));
            return SimCompletion(waiting);
        }
        inner.totals.update(|t| t.count(&chain));
        let run = ChainRun::new(chain);
        let waiting = run.waiting.clone().expect("a new chain waits");
        inner.staged.borrow_mut().push(run);
        if !inner.corks.is_corked() {
            inner.ring();
        } else if !inner.is_staged.replace(true) {
            inner.corks.stage(inner.clone());
        }
        SimCompletion(waiting)
    }

    fn node(&self) -> NodeId {
        self.0.node
    }

    fn caps(&self) -> Caps {
        Caps {
            transport: "sim",
            inline: usize::MAX,
            outstanding_reads: usize::MAX,
            atomic_with_cpu: true,
            memory_len: self.0.shared.borrow().nodes[usize::from(self.0.node.0)].memory.len(),
        }
    }

    fn is_up(&self) -> bool {
        self.0.shared.borrow().links[self.0.link].standing != Standing::Down
    }
}

impl Staged for Inner {
    fn ring(&self) {
        self.is_staged.set(false);
        self.totals.update(|t| t.doorbells += 1);
        let chains = std::mem::take(&mut *self.staged.borrow_mut());
        self.shared.borrow_mut().submit(self.link, chains);
    }
}

impl Future for SimCompletion {
    type Output = Result<Answers, VerbError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(answer) = self.0.answer.borrow_mut().take() {
            return Poll::Ready(answer);
        }
        *self.0.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl fmt::Debug for SimLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimLink({}, {})", self.0.link, self.0.node)
    }
}
