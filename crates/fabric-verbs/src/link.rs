//! A link: chains become lists of work requests, and completions their answers.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use farrow_fabric::{Answers, Caps, Chain, Link, Staged, VerbError, Why, is_driven};
use farrow_layout::NodeId;

use crate::engine::{Engine, LinkId, Shared};
use crate::flights::{Failure, Flights, Launch};
use crate::plan::{Kind, Limits, Plan, Request};
use crate::reads::Reads;
use crate::sys::{QueuePair, SendWr, Sge, Status, WordRegion, WrFlags};
use crate::window::Window;

/// A link to a node over a reliable connection. Clones are the same link; it stays on its thread.
///
/// When the last clone is dropped the queue pair is destroyed, whatever is on its way; chains then end as
/// [`farrow_fabric::Effect::Maybe`].
#[derive(Clone)]
pub struct VerbsLink(Rc<Handle>);

/// Held by the user's clones only, so that its drop closes the link.
struct Handle {
    core: Rc<Core>,
    engine: Engine,
}

/// The answer to a chain, when it arrives.
#[must_use = "the chain is posted already; this is its answer"]
pub struct VerbsCompletion(Answer);

enum Answer {
    Ready(Option<Result<Answers, VerbError>>),
    Coming { core: Rc<Core>, engine: Engine, flight: u32 },
}

/// What engine, handle and completions share.
pub(crate) struct Core {
    id: LinkId,
    node: NodeId,
    shared: Shared,
    window: Window,
    limits: Limits,
    mtu: u64,
    reads: u8,
    /// See `flights.rs`.
    holds_fences: bool,
    is_staged: Cell<bool>,
    is_up: Cell<bool>,
    state: RefCell<State>,
}

/// Dropped in this order: when the queue pair is gone, the device touches neither ring nor buffers.
struct State {
    queue_pair: Option<QueuePair>,
    /// Two words for each work request in the send queue: where its answer arrives, or its word is sent from.
    ring: WordRegion,
    flights: Flights,
    reads: Reads,
    /// Scratch for posting.
    entries: Vec<Sge>,
    list: Vec<SendWr>,
}

impl VerbsLink {
    pub(crate) fn new(core: Rc<Core>, engine: Engine) -> VerbsLink {
        VerbsLink(Rc::new(Handle { core, engine }))
    }

    /// Gives the link up because of what was learnt elsewhere: the epoch moved on, the node was declared lost. Chains on their way end as
    /// [`farrow_fabric::Effect::Maybe`] with `why`; later ones are refused.
    ///
    /// A fence destroys the node's end, and this end cannot tell that from a slow node before its retries are over:
    /// whoever knows of the fence spares itself the wait.
    pub fn give_up(&self, why: Why) {
        let mut to_wake = Vec::new();
        self.0.core.fail(why, &mut to_wake);
        to_wake.into_iter().for_each(Waker::wake);
    }

    /// Chains posted to the device and not completed.
    pub fn in_flight(&self) -> usize {
        self.0.core.state.borrow().flights.posted()
    }
}

impl Link for VerbsLink {
    type Completion = VerbsCompletion;

    fn post(&self, chain: Chain) -> VerbsCompletion {
        let Handle { core, engine } = &*self.0;
        VerbsCompletion(match core.add(chain) {
            Ok(flight) => {
                core.post_or_stage();
                Answer::Coming { core: Rc::clone(core), engine: engine.clone(), flight }
            }
            Err(why) => Answer::Ready(Some(Err(VerbError::refused(core.node, why)))),
        })
    }

    fn node(&self) -> NodeId {
        self.0.core.node
    }

    fn caps(&self) -> Caps {
        let core = &self.0.core;
        Caps {
            transport: "rdma",
            inline: core.limits.inline,
            outstanding_reads: core.reads.into(),
            // Even where a device says so of its own machine, nothing tells it of the node's.
            atomic_with_cpu: false,
            memory_len: core.window.len(),
        }
    }

    fn is_up(&self) -> bool {
        self.0.core.is_up.get()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut to_wake = Vec::new();
        self.core.close(&mut to_wake);
        self.engine.remove(self.core.id);
        to_wake.into_iter().for_each(Waker::wake);
    }
}

impl Core {
    #[expect(clippy::too_many_arguments, reason = "the parts of a link, each of another type")]
    pub(crate) fn new(
        id: LinkId,
        node: NodeId,
        shared: Shared,
        queue_pair: QueuePair,
        ring: WordRegion,
        window: Window,
        limits: Limits,
        mtu: u64,
        reads: u8,
        holds_fences: bool,
    ) -> Core {
        let flights = Flights::new(limits.requests as u32, holds_fences);
        let queue_pair = Some(queue_pair);
        let state = State {
            queue_pair,
            ring,
            flights,
            reads: Reads::default(),
            entries: Vec::new(),
            list: Vec::new(),
        };
        Core {
            id,
            node,
            shared,
            window,
            limits,
            mtu,
            reads,
            holds_fences,
            is_staged: Cell::new(false),
            is_up: Cell::new(true),
            state: RefCell::new(state),
        }
    }

    fn add(&self, chain: Chain) -> Result<u32, Why> {
        if !self.is_up.get() {
            return Err(Why::LinkDown);
        }
        let mut counted = self.shared.totals.get();
        counted.count(&chain);
        let State { flights, reads, .. } = &mut *self.state.borrow_mut();
        let flight = flights.add(|plan, first| {
            plan.fill(chain, &self.window, &self.limits)?;
            plan.order_behind(first, reads);
            Ok(())
        })?;
        self.shared.totals.update(|totals| *totals = counted);
        Ok(flight)
    }

    fn post_or_stage(self: &Rc<Self>) {
        if !self.shared.corks.is_corked() {
            self.ring();
        } else if !self.is_staged.replace(true) {
            self.shared.corks.stage(Rc::clone(self) as Rc<dyn Staged>);
        }
    }

    /// Posts what waits, unless a cork holds it back: there is room again.
    pub(crate) fn post_waiting(self: &Rc<Self>, to_wake: &mut Vec<Waker>) {
        if !self.state.borrow().flights.has_waiting() {
            return;
        }
        if self.shared.corks.is_corked() {
            self.post_or_stage();
        } else {
            self.post_fitting(to_wake);
        }
    }

    /// Posts the chains that wait, as many as the send queue has room for, with one doorbell.
    fn post_fitting(&self, to_wake: &mut Vec<Waker>) {
        let mut state = self.state.borrow_mut();
        let State { queue_pair, ring, flights, entries, list, .. } = &mut *state;
        let Some(queue_pair) = queue_pair else { return };
        entries.clear();
        list.clear();
        let mut has_chain = false;
        while let Some(Launch { plan, requests, number }) = flights.launch() {
            has_chain |= requests.start == 0;
            // Entries are pointed to once all are there: until then `list` has indices of them in place of pointers.
            let base = entries.len();
            entries.extend_from_slice(&plan.entries);
            let last = requests.len().wrapping_sub(1);
            for (index, request) in plan.requests[requests].iter().enumerate() {
                let number = number.wrapping_add(index as u32);
                let mut flags = if index == last { WrFlags::SIGNALED } else { WrFlags::NONE };
                if request.fence && !self.holds_fences {
                    flags = flags | WrFlags::FENCE;
                }
                let (first_entry, count, is_inline) = match request.kind {
                    Kind::Read { first, count, .. } => (base + first, count, false),
                    Kind::Write { first, count, inline, .. } => (base + first, count, inline),
                    kind => {
                        let place = self.place(number);
                        let is_inline = match kind {
                            Kind::WriteWord { word } => {
                                ring.store(place, word);
                                self.limits.inline >= 8
                            }
                            _ => false,
                        };
                        let length =
                            if let Kind::ReadWords { count } = kind { 8 * u32::from(count) } else { 8 };
                        entries.push(Sge { addr: ring.address(place), length, lkey: ring.lkey() });
                        (entries.len() - 1, 1, is_inline)
                    }
                };
                if is_inline {
                    flags = flags | WrFlags::INLINE;
                }
                list.push(work_request(request, self.id.request(number), first_entry, count, flags));
            }
        }
        flights.retire_empty(to_wake);
        if list.is_empty() {
            return;
        }
        // The rest of a chain that a held fence parted is not counted: the chain has rung already.
        self.shared.totals.update(|totals| totals.doorbells += u64::from(has_chain));
        let refusal = post(queue_pair, list, entries).err();
        drop(state);
        if let Some(refusal) = refusal {
            let code = refusal.source.raw_os_error().unwrap_or(0);
            tracing::warn!(node = %self.node, error = %refusal, "an RDMA link is lost");
            self.fail(Why::Provider(code), to_wake);
        }
    }

    /// Work request `number` of this link has completed.
    pub(crate) fn reap(&self, status: Status, number: u32, to_wake: &mut Vec<Waker>) {
        if !status.is_success() {
            self.fail_request(status, number, to_wake);
            return;
        }
        let State { ring, flights, reads, .. } = &mut *self.state.borrow_mut();
        reads.retire(number);
        let answers = |first: u32, plan: &Plan| {
            plan.answers(|index, which| ring.load(self.place(first.wrapping_add(index as u32)) + which))
        };
        flights.retire(number, answers, to_wake);
    }

    /// The first of the two words of work request `number` in the ring. The depth is a power of two, so numbers that wrap
    /// keep their places apart.
    fn place(&self, number: u32) -> usize {
        2 * (number as usize & (self.limits.requests - 1))
    }

    /// A work request has failed, which breaks the queue pair. What that says of its chain, and of those behind it:
    ///
    /// - A peer that refuses the memory key has executed what came before, and nothing after: it takes requests in order,
    ///   and its queue pair is broken from then on. A chain whose *first* request is refused has no effect, provided
    ///   that it was one packet: the key may have become invalid in the middle of a longer WRITE.
    /// - Other refusals leave open whether the request itself was begun; what is behind it never was.
    /// - Without an answer everything on its way may have been executed, or may yet be.
    fn fail_request(&self, status: Status, number: u32, to_wake: &mut Vec<Waker>) {
        let is_refused_at_once = {
            let state = self.state.borrow();
            let is_whole = |(first, plan): (u32, &Plan)| {
                first == number
                    && plan.requests.first().is_some_and(|request| request.kind.is_all_or_nothing(self.mtu))
            };
            state.flights.oldest().is_some_and(is_whole)
        };
        let (maybe, none) =
            (|why| VerbError::maybe(self.node, why), |why| VerbError::refused(self.node, why));
        let waiting = none(Why::LinkDown);
        let provider = Why::Provider(i32::try_from(status.0).unwrap_or(i32::MAX));
        let failure = match status {
            Status::REMOTE_ACCESS => {
                let oldest = if is_refused_at_once { none(Why::WrongKey) } else { maybe(Why::WrongKey) };
                Failure { oldest, later: none(Why::LinkDown), waiting }
            }
            Status::REMOTE_INVALID_REQUEST | Status::REMOTE_OPERATION => {
                Failure { oldest: maybe(provider), later: none(Why::LinkDown), waiting }
            }
            Status::RETRY_EXCEEDED | Status::RNR_RETRY_EXCEEDED => {
                Failure { oldest: maybe(Why::PeerLost), later: maybe(Why::PeerLost), waiting }
            }
            _ => Failure { oldest: maybe(provider), later: maybe(provider), waiting },
        };
        if self.break_off(&failure, to_wake) {
            tracing::warn!(node = %self.node, %status, "an RDMA link is lost");
            self.shared.totals.update(|totals| totals.links_lost += 1);
        }
    }

    /// The link is lost for a reason that no completion gave; whether it was up until now.
    pub(crate) fn fail(&self, why: Why, to_wake: &mut Vec<Waker>) -> bool {
        let was_up = self.end(why, to_wake);
        if was_up {
            self.shared.totals.update(|totals| totals.links_lost += 1);
        }
        was_up
    }

    fn close(&self, to_wake: &mut Vec<Waker>) {
        self.end(Why::LinkDown, to_wake);
    }

    fn end(&self, why: Why, to_wake: &mut Vec<Waker>) -> bool {
        let posted = VerbError::maybe(self.node, why);
        let waiting = VerbError::refused(self.node, Why::LinkDown);
        self.break_off(&Failure { oldest: posted, later: posted, waiting }, to_wake)
    }

    /// Destroys the queue pair, then ends all chains. Whether the link was up until now.
    fn break_off(&self, failure: &Failure, to_wake: &mut Vec<Waker>) -> bool {
        self.is_up.set(false);
        let mut state = self.state.borrow_mut();
        let Some(queue_pair) = state.queue_pair.take() else { return false };
        // Buffers are let go of only when the device can touch them no more. A destroyed queue pair is the strongest
        // proof of that: unlike flushed completions it does not depend on the device's counting.
        drop(queue_pair);
        state.flights.fail(failure, to_wake);
        true
    }
}

/// Its pointer is the index of its first entry, to be replaced by [`SendWr::point_into`].
fn work_request(request: &Request, id: u64, first_entry: usize, count: usize, flags: WrFlags) -> SendWr {
    let &Request { kind, address, key, .. } = request;
    let entry = std::ptr::without_provenance_mut(first_entry);
    match kind {
        Kind::Read { .. } | Kind::ReadWords { .. } => SendWr::read(id, entry, count, address, key, flags),
        Kind::Write { .. } | Kind::WriteWord { .. } => SendWr::write(id, entry, count, address, key, flags),
        Kind::CompareSwap { expected, swap } => {
            SendWr::compare_swap(id, entry, address, key, expected, swap, flags)
        }
        Kind::FetchAdd { add } => SendWr::fetch_add(id, entry, address, key, add, flags),
    }
}

/// Posts `list`, whose requests have indices of `entries` in place of pointers.
#[allow(unsafe_code, reason = "the one place where work requests reach the device")]
fn post(
    queue_pair: &QueuePair,
    list: &mut [SendWr],
    entries: &mut [Sge],
) -> Result<(), crate::sys::PostError> {
    let base = entries.as_mut_ptr();
    for work_request in &mut *list {
        work_request.point_into(base);
    }
    // SAFETY:
    // - Scatter entries: all pointers of `list` were just set into `entries`, which is borrowed until this call is over; the
    //   indices were made beside the entries, in `post_fitting`.
    // - The memory they name is either a pinned slice of the chain's plan or a place in the link's answer ring. Pins are
    //   dropped by `Plan::clear` only, which `Flights` calls when a completion of this chain's last request or of a later
    //   one was polled, or, in `break_off`, after the queue pair was dropped; likewise the fields of `State`
    //   are dropped in that order. The ring lives as long as the queue pair, and a place is used again only
    //   after its request was retired (fewer than `requests` numbers are in use, and places are numbers modulo that).
    // - Races: `Buffer` lets nobody look at the bytes of a pinned slice; ring words are atomics.
    // - Inline data is the same memory, readable during the call.
    unsafe { queue_pair.post_send(list) }
}

impl Staged for Core {
    fn ring(&self) {
        self.is_staged.set(false);
        let mut to_wake = Vec::new();
        self.post_fitting(&mut to_wake);
        to_wake.into_iter().for_each(Waker::wake);
    }
}

impl Future for VerbsCompletion {
    type Output = Result<Answers, VerbError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.0 {
            Answer::Ready(answer) => {
                Some(answer.take().expect("a completion is not polled after its answer"))
            }
            Answer::Coming { core, engine, flight } => core.answer(*flight, engine, cx.waker()),
        };
        let Some(answer) = answer else { return Poll::Pending };
        self.0 = Answer::Ready(None);
        Poll::Ready(answer)
    }
}

impl Core {
    /// The answer to `flight`; without one, sees to it that `waker` is called when there may be one.
    fn answer(&self, flight: u32, engine: &Engine, waker: &Waker) -> Option<Result<Answers, VerbError>> {
        let take = || self.state.borrow_mut().flights.take(flight);
        if let Some(answer) = take() {
            return Some(answer);
        }
        if is_driven() {
            // Dropping a waker may drop a task, and with it completions of this link: not while the state is borrowed.
            let replaced = self.state.borrow_mut().flights.wait(flight, waker);
            drop(replaced);
            return None;
        }
        // Nobody reaps for us on a foreign executor: reap here, and ask to be polled again.
        engine.poll();
        let answer = take();
        if answer.is_none() {
            waker.wake_by_ref();
        }
        answer
    }
}

impl Drop for VerbsCompletion {
    fn drop(&mut self) {
        if let Answer::Coming { core, flight, .. } = &self.0 {
            let waker = core.state.borrow_mut().flights.abandon(*flight);
            drop(waker);
        }
    }
}

impl fmt::Debug for VerbsLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_up() { "" } else { ", down" };
        write!(f, "VerbsLink({}, {:?}{state})", self.node(), self.0.core.id)
    }
}

impl fmt::Debug for VerbsCompletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Answer::Ready(answer) => write!(f, "VerbsCompletion({answer:?})"),
            Answer::Coming { core, .. } => write!(f, "VerbsCompletion(from {})", core.node),
        }
    }
}
