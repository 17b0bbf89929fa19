//! A link: chains that the caller's CPU executes, fenced by the link's busy flag.

use crate::host::ShmGrant;
use crate::page::Turn;
use crate::peer::ShmPeer;
use farrow_fabric::{Answers, Caps, Chain, Corks, Link, Staged, TotalsCell, Verb, VerbError, Why};
use farrow_layout::{NodeId, ShmLink as LinkRecord};
use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::task::{Context, Poll};

/// A link to a node on this host. Clones are the same link; it stays on its thread.
#[derive(Clone)]
pub struct ShmLink(Rc<Inner>);

/// The answer to a chain: there as soon as the chain is posted.
#[derive(Debug)]
#[must_use = "the chain has executed already; this is its answer"]
pub struct ShmCompletion(Option<Result<Answers, VerbError>>);

struct Inner {
    peer: Arc<ShmPeer>,
    node: NodeId,
    grant: ShmGrant,
    is_down: Cell<bool>,
    is_staged: Cell<bool>,
    totals: Rc<TotalsCell>,
    corks: Rc<Corks>,
}

impl ShmLink {
    pub(crate) fn new(
        peer: Arc<ShmPeer>,
        node: NodeId,
        grant: ShmGrant,
        totals: Rc<TotalsCell>,
        corks: Rc<Corks>,
    ) -> ShmLink {
        ShmLink(Rc::new(Inner {
            peer,
            node,
            grant,
            is_down: Cell::new(false),
            is_staged: Cell::new(false),
            totals,
            corks,
        }))
    }

    /// What the link was made of.
    pub fn grant(&self) -> ShmGrant {
        self.0.grant
    }

    /// Closes the link: later chains are refused. The node still has to release the grant.
    pub fn close(&self) {
        self.0.is_down.set(true);
    }
}

impl Link for ShmLink {
    type Completion = ShmCompletion;

    fn post(&self, chain: Chain) -> ShmCompletion {
        ShmCompletion(Some(self.post_now(&chain)))
    }

    fn node(&self) -> NodeId {
        self.0.node
    }

    fn caps(&self) -> Caps {
        Caps {
            transport: "shm",
            inline: usize::MAX,
            outstanding_reads: usize::MAX,
            atomic_with_cpu: true,
            memory_len: self.0.peer.memory_len(),
        }
    }

    fn is_up(&self) -> bool {
        let inner = &self.0;
        !inner.is_down.get() && inner.is_grant_possible() && inner.peer.page.standing(&inner.grant).is_ok()
    }
}

impl ShmLink {
    fn post_now(&self, chain: &Chain) -> Result<Answers, VerbError> {
        let inner = &*self.0;
        if inner.is_down.get() {
            return Err(VerbError::refused(inner.node, Why::LinkDown));
        }
        if let Some(why) = chain.refusal(inner.peer.memory_len()) {
            return Err(VerbError::refused(inner.node, why));
        }
        inner.totals.update(|t| t.count(chain));
        self.ring_or_stage();

        let busy = inner.enter().map_err(|why| inner.fail(VerbError::refused(inner.node, why)))?;
        inner
            .peer
            .page
            .standing(&inner.grant)
            .map_err(|why| inner.fail(VerbError::refused(inner.node, why)))?;
        let answers = inner.execute(chain);
        // A thread that slept until here may have read memory that is somebody else's by now.
        inner
            .peer
            .page
            .standing(&inner.grant)
            .map_err(|why| inner.fail(VerbError::maybe(inner.node, why)))?;
        drop(busy);
        Ok(answers)
    }

    fn ring_or_stage(&self) {
        let inner = &self.0;
        if !inner.corks.is_corked() {
            inner.ring();
        } else if !inner.is_staged.replace(true) {
            inner.corks.stage(inner.clone());
        }
    }
}

impl Staged for Inner {
    fn ring(&self) {
        self.is_staged.set(false);
        self.totals.update(|t| t.doorbells += 1);
    }
}

/// While it lives, the node's fence waits for us.
struct Busy<'a> {
    turn: &'a AtomicU64,
    idle: u64,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        // Nobody but us changes the word while we are busy, unless the daemon takes this process for dead.
        self.turn.store(self.idle, Ordering::Release);
    }
}

impl Inner {
    fn is_grant_possible(&self) -> bool {
        self.grant.link < self.peer.page.links() && self.grant.epoch != LinkRecord::UNUSED
    }

    fn enter(&self) -> Result<Busy<'_>, Why> {
        if !self.is_grant_possible() {
            return Err(Why::WrongKey);
        }
        let turn = self.peer.page.turn(self.grant.link);
        let (idle, busy) = (Turn::idle(self.grant.key), Turn::busy(self.grant.key));
        match turn.compare_exchange(idle, busy, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(Busy { turn, idle }),
            // The link is closed, or somebody else's: of the two, the epoch knows.
            Err(_) => Err(self.peer.page.standing(&self.grant).err().unwrap_or(Why::WrongKey)),
        }
    }

    fn fail(&self, error: VerbError) -> VerbError {
        self.is_down.set(true);
        self.totals.update(|t| t.links_lost += 1);
        error
    }

    fn execute(&self, chain: &Chain) -> Answers {
        let memory = &self.peer.memory;
        let mut answers = Answers::new();
        // Whether stores may still wait in this CPU's store buffer: loads must not overtake them (F1, F4).
        let mut has_stored = false;
        for verb in chain.verbs() {
            let mut at = verb.at().0 as usize;
            let loads = matches!(verb, Verb::Read { .. } | Verb::ReadWords { .. });
            if loads && std::mem::take(&mut has_stored) {
                fence(Ordering::SeqCst);
            }
            match verb {
                Verb::Read { into, .. } => {
                    for slice in into {
                        memory.copy_out_pinned(at, &slice.clone().pin());
                        at += slice.len();
                    }
                }
                Verb::ReadWords { count, .. } => {
                    for i in 0..*count as usize {
                        answers.push(memory.word(at + 8 * i).load(Ordering::Acquire));
                    }
                }
                Verb::Write { from, .. } => {
                    for slice in from {
                        memory.copy_in_pinned(at, &slice.clone().pin());
                        at += slice.len();
                    }
                    has_stored = true;
                }
                Verb::WriteWord { word, .. } => {
                    memory.word(at).store(*word, Ordering::Release);
                    has_stored = true;
                }
                Verb::CompareSwap { expected, swap, .. } => {
                    let (ok, failed) = (Ordering::SeqCst, Ordering::SeqCst);
                    let old = memory.word(at).compare_exchange(*expected, *swap, ok, failed);
                    answers.push(old.unwrap_or_else(|old| old));
                    has_stored = !RMW_DRAINS_STORES;
                }
                Verb::FetchAdd { add, .. } => {
                    answers.push(memory.word(at).fetch_add(*add, Ordering::SeqCst));
                    has_stored = !RMW_DRAINS_STORES;
                }
            }
        }
        if has_stored {
            fence(Ordering::SeqCst);
        }
        answers
    }
}

/// A locked instruction of x86 waits for all earlier stores, successful or not; other machines need a fence.
const RMW_DRAINS_STORES: bool = cfg!(target_arch = "x86_64");

impl Future for ShmCompletion {
    type Output = Result<Answers, VerbError>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(self.0.take().expect("a completion is not polled after its answer"))
    }
}

impl fmt::Debug for ShmLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.0.is_down.get() { ", down" } else { "" };
        write!(f, "ShmLink({}, {:?}{state})", self.0.node, self.0.grant)
    }
}
