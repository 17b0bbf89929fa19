//! Who says which nodes are in the home, and takes it from view to view; and how clients hear of it.

use super::recovery::{Lost, Recovery};
use super::restorer::Restore;
use super::shadow::Shadow;
use farrow_fabric::{Fabric, Link};
use farrow_fabric_sim::{SimFabric, SimLink, TaskId, World};
use farrow_layout::{ClientId, Epoch, ExtentWord, HomeId, NodeId, SegmentPlan, SlotAddr, Word};
use farrow_protocol::mutant::{self, Mutant};
use farrow_protocol::{Close, Events, Failure, Home, Member, NoView, ProtocolError, Views, change_view};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// The coordinator of one home. Clones are the same.
#[derive(Clone)]
pub struct Coordinator(Rc<Inner>);

struct Inner {
    world: World,
    segment: SegmentPlan,
    events: Rc<Events>,
    nodes: RefCell<Vec<NodeId>>,
    epoch: Cell<Epoch>,
    is_open: Cell<bool>,
    /// The epoch in which the node that comes first was fenced last: its links are those of this epoch.
    readable: Cell<Epoch>,
    agent: Cell<Option<TaskId>>,
    restore: RefCell<Option<Restore>>,
    recoveries: RefCell<Vec<Recovery>>,
    waiting: RefCell<Vec<Waker>>,
    shadow: RefCell<Option<Shadow>>,
}

impl Coordinator {
    pub fn new(world: World, segment: SegmentPlan, events: Rc<Events>, nodes: Vec<NodeId>) -> Coordinator {
        Coordinator(Rc::new(Inner {
            world,
            segment,
            events,
            nodes: RefCell::new(nodes),
            epoch: Cell::new(Epoch(1)),
            is_open: Cell::new(true),
            readable: Cell::new(Epoch(1)),
            agent: Cell::new(None),
            restore: RefCell::default(),
            recoveries: RefCell::default(),
            waiting: RefCell::default(),
            shadow: RefCell::default(),
        }))
    }

    /// Tells `shadow` of every view that begins.
    pub fn tell(&self, shadow: &Shadow) {
        *self.0.shadow.borrow_mut() = Some(shadow.clone());
    }

    /// The nodes of the view, the primary first.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.0.nodes.borrow().clone()
    }

    /// Whether clients may work.
    pub fn is_open(&self) -> bool {
        self.0.is_open.get()
    }

    /// A node is gone: the home goes on without it.
    pub fn lose(&self, node: NodeId) {
        self.0.world.note(|| wrong(&format!("{node} is lost")));
        self.0.world.kill_node(node);
        // Of a target its agent takes notice.
        if self.nodes().contains(&node) {
            self.begin_change();
        }
    }

    /// Closes the home under a new epoch.
    pub(super) fn close(&self) -> Epoch {
        let inner = &self.0;
        inner.is_open.set(false);
        let epoch = Epoch(inner.epoch.get().0 + 1);
        inner.epoch.set(epoch);
        inner.world.note(|| wrong(&format!("the home closes: {epoch}")));
        inner.news();
        epoch
    }

    /// Closes the home under a new epoch, and has an agent open it again.
    pub fn begin_change(&self) {
        let inner = &self.0;
        let epoch = self.close();
        let fabric = inner.world.fabric(1 << 20);
        let agent = Agent { coordinator: self.clone(), fabric: fabric.clone() };
        let events = inner.events.clone();
        let task = inner.world.spawn(&fabric.clone(), async move {
            let outcome = change_view(&fabric, &events, &agent, epoch).await;
            if let Err(NotChanged::Failed(failure)) = outcome {
                // A member was lost meanwhile; whoever noticed has begun a change of its own.
                assert!(failure.is_of_link(), "{epoch} cannot open: {failure}");
                assert_ne!(agent.coordinator.0.epoch.get(), epoch, "nobody begins anew after {failure}");
            }
        });
        inner.agent.set(Some(task));
    }

    /// Has the home restored onto `target`, if nothing like that is going on.
    pub fn begin_restore(&self, target: NodeId) {
        if self.0.restore.borrow().is_none() {
            *self.0.restore.borrow_mut() = Some(Restore::begin(self, target));
        }
    }

    /// Has put in order what a client has left that has stopped.
    pub fn begin_recovery(&self, lost: Lost) {
        self.0.world.note(|| wrong(&format!("client {} is taken for lost", lost.id)));
        lost.views.is_evicted.set(true);
        self.0.news();
        let recovery = Recovery::begin(self, lost);
        self.0.recoveries.borrow_mut().push(recovery);
    }

    /// Clients that were recovered.
    pub fn recovered(&self) -> Vec<u32> {
        self.0.recoveries.borrow().iter().map(Recovery::client).collect()
    }

    /// Whoever recovers or restores has ended: what was begun is done, or its target is lost.
    pub fn is_at_rest(&self) -> bool {
        let has_ended = |task| self.0.world.has_ended(task);
        self.0.restore.borrow().as_ref().is_none_or(|r| has_ended(r.task))
            && self.0.recoveries.borrow().iter().all(|r| has_ended(r.task))
    }

    /// All agents stop where they are, and others begin anew; nothing if there are none.
    pub fn stop_agent(&self) {
        let inner = &self.0;
        let recoveries = std::mem::take(&mut *inner.recoveries.borrow_mut());
        let again = recoveries.into_iter().map(|recovery| recovery.begin_anew(self)).collect();
        *inner.recoveries.borrow_mut() = again;
        let restore = inner.restore.borrow_mut().take();
        if let Some(restore) = restore {
            let (again, was_closed) = restore.begin_anew(self);
            *inner.restore.borrow_mut() = Some(again);
            if was_closed {
                // What it has frozen opens again without it.
                return self.begin_change();
            }
        }
        if let Some(agent) = inner.agent.get()
            && !inner.is_open.get()
            && !inner.world.has_ended(agent)
        {
            inner.world.stop(agent);
            self.begin_change();
        }
    }

    /// A client's way to this home.
    pub fn views(&self, fabric: &SimFabric) -> ClientViews {
        let home = Rc::new(self.home(fabric, &self.nodes()));
        let current = RefCell::new(home.clone());
        let (coordinator, fabric) = (self.clone(), fabric.clone());
        let (links, is_evicted) = (RefCell::default(), Cell::new(false));
        let views = ClientViews { coordinator, fabric, current, links, is_evicted };
        views.note_links(&home);
        views
    }

    /// A way to a node.
    pub(super) fn member(&self, fabric: &SimFabric, node: NodeId) -> Member<SimLink> {
        Member { link: fabric.link(node), segment: self.0.segment }
    }

    pub(super) fn home(&self, fabric: &SimFabric, nodes: &[NodeId]) -> Home<SimLink> {
        let member = |node: &NodeId| self.member(fabric, *node);
        Home::new(HomeId(0), nodes.iter().map(member).collect()).of_epoch(self.0.epoch.get())
    }

    fn view_begins(&self) {
        if let Some(shadow) = &*self.0.shadow.borrow() {
            let (world, segment) = (&self.0.world, self.0.segment);
            shadow.begin_view(self.nodes(), |node, index| {
                let slot = SlotAddr { partition: 0, index };
                Word::from_raw(world.memory(node).word(segment.slot(slot)))
            });
        }
    }

    /// The nodes of the present view that are left.
    fn left(&self) -> Vec<NodeId> {
        let mut left = self.nodes();
        left.retain(|node| !self.0.world.is_dead(*node));
        left
    }

    /// Waits until the home is open, and says in which epoch.
    pub(super) async fn opened(&self) -> Epoch {
        poll_fn(|cx| {
            if self.is_open() {
                return Poll::Ready(self.0.epoch.get());
            }
            self.0.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Whether the home is open, and was ever since it opened in `epoch`.
    pub(super) fn is_open_in(&self, epoch: Epoch) -> bool {
        self.is_open() && self.0.epoch.get() == epoch
    }

    /// The primary's daemon seals `extent` of `owner`, once the home is open.
    pub async fn seal(&self, fabric: &SimFabric, extent: u64, owner: ClientId) {
        loop {
            let epoch = self.opened().await;
            rpc(fabric).await;
            if self.is_open_in(epoch) {
                return self.seal_now(extent, owner);
            }
        }
    }

    /// What the primary's daemon does when it seals an extent.
    pub(super) fn seal_now(&self, extent: u64, owner: ClientId) {
        let word = ExtentWord::FREE.opened(owner).sealed();
        let at = self.0.segment.extent_record(extent);
        self.0.world.poke(self.nodes()[0], at, &word.raw().to_le_bytes());
    }

    /// Whether the home is closed, and was closed under `epoch` last.
    pub(super) fn is_closed_in(&self, epoch: Epoch) -> bool {
        !self.is_open() && self.0.epoch.get() == epoch
    }

    pub(super) fn segment(&self) -> SegmentPlan {
        self.0.segment
    }

    pub(super) fn world(&self) -> &World {
        &self.0.world
    }

    pub(super) fn events(&self) -> &Events {
        &self.0.events
    }

    /// Whoever has this fabric may take words back from backups.
    pub(super) fn may_take_back(&self, fabric: &SimFabric) {
        if let Some(shadow) = &*self.0.shadow.borrow() {
            shadow.may_take_back(fabric.client());
        }
    }

    /// Waits until there is a view that may do better than one of `epoch` (with `is_closed`, one in which somebody wants to
    /// change something): an open one, or a later one that may be read already.
    async fn view_after(&self, epoch: Epoch, is_closed: bool, is_evicted: &Cell<bool>) {
        poll_fn(|cx| {
            let now = self.0.epoch.get();
            let is_readable = self.0.readable.get() == now && (now > epoch || !is_closed);
            if self.is_open() && (now > epoch || is_closed) || is_readable || is_evicted.get() {
                return Poll::Ready(());
            }
            self.0.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    /// Whoever waits for a view looks again.
    fn news(&self) {
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// Takes the home to one view.
pub(super) struct Agent {
    pub(super) coordinator: Coordinator,
    pub(super) fabric: SimFabric,
}

/// Why an agent gave up.
#[derive(Debug)]
pub(super) enum NotChanged {
    /// Another one has taken over.
    Superseded,
    Failed(Failure),
}

impl From<Failure> for NotChanged {
    fn from(failure: Failure) -> NotChanged {
        NotChanged::Failed(failure)
    }
}

impl Agent {
    pub(super) fn check(&self, epoch: Epoch) -> Result<(), NotChanged> {
        if self.coordinator.0.epoch.get() == epoch { Ok(()) } else { Err(NotChanged::Superseded) }
    }
}

impl Close<SimFabric> for Agent {
    type Error = NotChanged;

    async fn close(&self, epoch: Epoch) -> Result<Vec<Home<SimLink>>, NotChanged> {
        let inner = &self.coordinator.0;
        let left = self.coordinator.left();
        for node in &left {
            rpc(&self.fabric).await;
            // What a node does with a fence of an epoch that is over.
            self.check(epoch)?;
            if !mutant::is(Mutant::NotFenced) && !mutant::is(Mutant::ReadBeforeFence) {
                inner.world.note(|| wrong(&format!("{node} is fenced: {epoch}")));
                inner.world.fence(*node);
            }
            if *node == left[0] {
                inner.readable.set(epoch);
                inner.news();
            }
        }
        *inner.nodes.borrow_mut() = left.clone();
        self.coordinator.view_begins();
        Ok(vec![self.coordinator.home(&self.fabric, &left).closed()])
    }

    async fn publish(&self, views: Vec<Home<SimLink>>) -> Result<(), NotChanged> {
        let [view] = &views[..] else { panic!("one home is closed") };
        rpc(&self.fabric).await;
        self.check(view.epoch())?;
        let inner = &self.coordinator.0;
        *inner.nodes.borrow_mut() = view.nodes().collect();
        if mutant::is(Mutant::ReadBeforeFence) {
            inner.nodes.borrow().iter().for_each(|node| inner.world.fence(*node));
        }
        inner.world.note(|| wrong(&format!("the home is open: {}", view.epoch())));
        self.coordinator.view_begins();
        inner.is_open.set(true);
        inner.news();
        if view.nodes().any(|node| inner.world.is_dead(node)) {
            // A target was lost behind its last copy.
            self.coordinator.begin_change();
        }
        Ok(())
    }
}

/// The time that a request to the control plane takes.
pub(super) async fn rpc(fabric: &SimFabric) {
    let pause = Duration::from_nanos(1 + fabric.random() % 20);
    fabric.sleep_until(fabric.now() + pause).await;
}

/// One client's views of the home.
pub struct ClientViews {
    coordinator: Coordinator,
    fabric: SimFabric,
    current: RefCell<Rc<Home<SimLink>>>,
    /// Every link that it ever had.
    links: RefCell<Vec<(NodeId, usize)>>,
    /// Whether it gets none any more.
    is_evicted: Cell<bool>,
}

impl ClientViews {
    /// The view that was last good.
    pub fn current(&self) -> Rc<Home<SimLink>> {
        self.current.borrow().clone()
    }

    fn keep(&self, home: Home<SimLink>) -> Rc<Home<SimLink>> {
        let home = Rc::new(home);
        self.note_links(&home);
        *self.current.borrow_mut() = home.clone();
        home
    }

    /// Whether it was taken for lost.
    pub fn is_evicted(&self) -> bool {
        self.is_evicted.get()
    }

    fn note_links(&self, home: &Home<SimLink>) {
        self.links.borrow_mut().extend(home.members().iter().map(|m| (m.link.node(), m.link.number())));
    }

    /// Its links to a node, all that there ever were.
    pub(super) fn links_to(&self, node: NodeId) -> Vec<usize> {
        let links = self.links.borrow();
        links.iter().filter(|(other, _)| *other == node).map(|(_, link)| *link).collect()
    }

    /// The link to a node, for faults.
    pub fn link_to(&self, node: NodeId) -> Option<usize> {
        let home = self.current();
        home.members().iter().find(|m| m.link.node() == node).map(|m| m.link.number())
    }
}

impl Views<SimFabric> for ClientViews {
    async fn renew(&self, lost: &Home<SimLink>) -> Result<Rc<Home<SimLink>>, NoView> {
        let coordinator = &self.coordinator;
        // In a closed view whose links are up nobody has lost anything: somebody waits to change something.
        let waits_for_open = !lost.is_open() && lost.members().iter().all(|m| m.link.is_up());
        loop {
            if !coordinator.is_open() {
                coordinator.view_after(lost.epoch(), waits_for_open, &self.is_evicted).await;
            }
            if self.is_evicted() {
                return Err(NoView);
            }
            // The node closes its end of a lost link before it gives a new one, or verbs of the old one could land behind what
            // is concluded from now on.
            let (epoch, is_open) = (coordinator.0.epoch.get(), coordinator.is_open());
            if epoch == lost.epoch() {
                rpc(&self.fabric).await;
                let is_as_it_was = (coordinator.0.epoch.get(), coordinator.is_open()) == (epoch, is_open);
                if !is_as_it_was || self.is_evicted() {
                    continue;
                }
            }
            let nodes = if is_open { coordinator.nodes() } else { coordinator.left() };
            let view = coordinator.home(&self.fabric, &nodes);
            let current = self.current();
            let members = view.members().iter().map(|fresh| {
                let kept = current.members().iter().find(|m| m.link.node() == fresh.link.node());
                match kept.filter(|_| epoch == current.epoch()) {
                    Some(kept) if kept.link.is_up() => kept.clone(),
                    Some(broken) => {
                        coordinator.0.world.revoke_link(broken.link.number());
                        fresh.clone()
                    }
                    None => fresh.clone(),
                }
            });
            let view = Home::new(view.id(), members.collect()).of_epoch(epoch);
            return Ok(self.keep(if is_open { view } else { view.closed() }));
        }
    }
}

/// What goes wrong, or is done about it, in a line of the trace.
pub fn wrong(what: &str) -> String {
    format!("! {what}")
}

/// What goes wrong, if a line of the trace says so.
pub fn wrong_in(note: &str) -> Option<&str> {
    note.strip_prefix("! ")
}

/// Errors that a client may meet while views change.
pub fn may_fail(error: &ProtocolError) -> bool {
    matches!(error, ProtocolError::IndexFull | ProtocolError::Overtaken { .. })
}
