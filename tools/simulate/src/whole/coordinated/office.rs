//! The coordinator's daemon: the product's core, its store, and who waits for an answer.

use super::clock::Clock;
use super::cluster::Cluster;
use super::net::Party;
use super::oracle;
use super::scenario::Mark;
use crate::whole::mailbox::Mailbox;
use farrow_control::coordination::{Ask, Tell};
use farrow_coordinator::{Answer, Coordinator, Instant, Settings, State, Wait};
use farrow_fabric::{Nanos, within};
use farrow_fabric_sim::TaskId;
use farrow_layout::NodeId;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// A request that came in, and where the answer goes.
struct Letter {
    ask: Ask,
    from: Party,
    reply: Mailbox<Tell>,
}

/// Where the coordinator runs, and what outlives it.
pub(super) struct Office {
    pub(super) settings: Settings,
    clock: Clock,
    inbox: RefCell<Mailbox<Letter>>,
    /// What is stored, as bytes.
    store: RefCell<Option<Vec<u8>>>,
    /// The same, as oracles read it.
    latest: RefCell<Option<Rc<State>>>,
    /// What is decided, stored or not.
    decided: RefCell<Option<Rc<State>>>,
    /// When each node was heard last, or a coordinator began that gives everybody a lease.
    heard: RefCell<BTreeMap<NodeId, Nanos>>,
    begun: Cell<Nanos>,
    /// Since when nobody is heard.
    away_since: Cell<Option<Nanos>>,
    store_ns: u64,
    task: Cell<Option<TaskId>>,
    /// Clients that were cleaned up behind: known ones, and owners that a primary has named.
    pub(super) recovered: Cell<u64>,
    pub(super) orphans: Cell<u64>,
    /// What it is at with its store.
    doing: Cell<&'static str>,
}

impl Office {
    pub(super) fn new(settings: Settings, clock: Clock, store_ns: u64) -> Office {
        let (inbox, task) = (RefCell::new(Mailbox::new()), Cell::new(None));
        let (store, latest, decided) = (RefCell::default(), RefCell::default(), RefCell::default());
        let (heard, begun, away_since) = (RefCell::default(), Cell::new(Nanos(0)), Cell::default());
        Office {
            settings,
            clock,
            inbox,
            store,
            latest,
            decided,
            heard,
            begun,
            away_since,
            store_ns,
            task,
            recovered: Cell::default(),
            orphans: Cell::default(),
            doing: Cell::new("nothing"),
        }
    }

    /// What is stored, once anything is.
    pub(super) fn latest(&self) -> Option<Rc<State>> {
        self.latest.borrow().clone()
    }

    /// What is decided, as far as a coordinator that goes on will know.
    pub(super) fn decided(&self) -> Option<Rc<State>> {
        self.decided.borrow().clone()
    }

    /// Whether the coordinator, or the next one, is far from taking a node for lost.
    pub(super) fn is_in_touch(&self, now: Nanos, node: NodeId) -> bool {
        let heard = self.heard.borrow().get(&node).copied().unwrap_or(Nanos(0)).max(self.begun.get());
        let now = self.away_since.get().unwrap_or(now);
        now.0.saturating_sub(heard.0) <= self.settings.lease_ns / 2
    }

    pub(super) fn is_running(&self) -> bool {
        self.task.get().is_some()
    }

    /// What a coordinator that crashes or stands still now is at.
    pub(super) fn doing(&self) -> &'static str {
        self.doing.get()
    }

    fn store(&self, cluster: &Cluster, state: Rc<State>) {
        *self.store.borrow_mut() = Some(serde_json::to_vec(&*state).expect("a state is data"));
        cluster.world.note(|| format!("stored: {state:?}"));
        *self.latest.borrow_mut() = Some(state);
    }
}

impl Cluster {
    /// The coordinator starts, with what is stored.
    pub(super) fn open_office(self: &Rc<Self>) {
        if self.office.is_running() {
            return;
        }
        *self.office.inbox.borrow_mut() = Mailbox::new();
        self.office.begun.set(self.now());
        self.office.away_since.set(None);
        let task = self.world.spawn(&self.time, serve(self.clone()));
        self.office.task.set(Some(task));
    }

    /// The coordinator stops where it is: what is not stored is gone, and so are answers that wait.
    pub(super) fn crash_office(&self) {
        if let Some(task) = self.office.task.take() {
            self.world.stop(task);
            self.office.away_since.set(self.office.away_since.get().or(Some(self.now())));
            *self.office.decided.borrow_mut() = self.office.latest();
            self.office.inbox.borrow().close();
        }
    }

    pub(super) fn pause_office(&self) {
        if let Some(task) = self.office.task.get() {
            self.world.pause(task);
            self.office.away_since.set(self.office.away_since.get().or(Some(self.now())));
        }
    }

    pub(super) fn resume_office(&self) {
        if let Some(task) = self.office.task.get() {
            self.world.resume(task);
            self.office.away_since.set(None);
        }
    }

    /// Asks the coordinator; `None` when no answer comes in time.
    pub(super) async fn ask(self: &Rc<Self>, from: Party, ask: Ask, patience_ns: u64) -> Option<Tell> {
        let reply = Mailbox::new();
        let (cluster, letter) = (self.clone(), Letter { ask, from, reply: reply.clone() });
        self.spawn(async move {
            if cluster.travel(from, Party::Office).await {
                let inbox = cluster.office.inbox.borrow().clone();
                let _ = inbox.send(letter);
            }
        });
        within(&self.time, self.now() + Duration::from_nanos(patience_ns), reply.receive()).await.flatten()
    }

    fn send_back(self: &Rc<Self>, letter: Letter, tell: Tell) {
        let cluster = self.clone();
        self.spawn(async move {
            if cluster.travel(Party::Office, letter.from).await {
                let _ = letter.reply.send(tell);
            }
        });
    }
}

/// A state on its way into the store.
struct Storing {
    version: u64,
    state: Rc<State>,
    done: Nanos,
}

async fn serve(cluster: Rc<Cluster>) {
    let office = &cluster.office;
    let now = || Instant(office.clock.at(cluster.now()));
    let inbox = office.inbox.borrow().clone();
    let settings = office.settings.clone();
    let stored = office.store.borrow().clone();
    let mut core = match stored {
        None => Coordinator::new(settings, now()),
        Some(bytes) => {
            let state = serde_json::from_slice(&bytes).expect("what was stored can be read");
            Coordinator::resume(state, settings, now())
        }
    };
    let long_poll = office.settings.lease_ns / 4;
    let mut waiting: Vec<(Wait, Instant, Letter)> = Vec::new();
    let mut held: Vec<(u64, Letter, Tell)> = Vec::new();
    let mut storing: Option<Storing> = None;
    let mut next = now();
    let mut decided = None;
    office.doing.set("nothing");
    loop {
        let until = storing.as_ref().map_or(Nanos(u64::MAX), |it| it.done).min(office.clock.when(next.0));
        let letter = within(&cluster.time, until, inbox.receive()).await.flatten();
        if let Some(it) = storing.take_if(|it| cluster.now() >= it.done) {
            core.stored(it.version, (*it.state).clone());
            office.store(&cluster, it.state);
            office.doing.set("stored");
            cluster.mark(Mark::Store);
            // Here it may stop: what is stored is known to nobody.
            cluster.sleep(1).await;
            office.doing.set("nothing");
        }
        if let Some(letter) = letter {
            cluster.mark(Mark::Request);
            let objection = oracle::before(&cluster, &core, &letter.ask);
            if let Ask::Renew(renewal) = &letter.ask {
                office.heard.borrow_mut().insert(renewal.node, cluster.now());
            }
            match core.answer(now(), &letter.ask, "simulated") {
                Answer::Now(tell) => {
                    cluster.world.note(|| format!("coordinator: {:?} -> {tell:?}", letter.ask));
                    oracle::after(&core, &letter.ask, &tell, objection);
                    held.push((core.version(), letter, tell));
                }
                Answer::Later(wait) => waiting.push((wait, now() + long_poll, letter)),
            }
        }
        next = core.tick(now());
        if decided.replace(core.version()) != Some(core.version()) {
            *office.decided.borrow_mut() = Some(Rc::new(core.state().clone()));
        }
        if storing.is_none()
            && let Some(state) = core.unstored()
        {
            let takes = 1 + cluster.world.draw(office.store_ns + 1);
            let (version, state) = (core.version(), Rc::new(state.clone()));
            office.doing.set("storing");
            cluster.mark(Mark::Store);
            storing = Some(Storing { version, state, done: cluster.now() + Duration::from_nanos(takes) });
        }
        for (wait, due, letter) in std::mem::take(&mut waiting) {
            match core.poll(&wait, now() >= due) {
                Some(tell) => cluster.send_back(letter, tell),
                None => {
                    next = next.min(due);
                    waiting.push((wait, due, letter));
                }
            }
        }
        for (version, letter, tell) in std::mem::take(&mut held) {
            match core.is_stored(version) {
                true => cluster.send_back(letter, tell),
                false => held.push((version, letter, tell)),
            }
        }
    }
}
