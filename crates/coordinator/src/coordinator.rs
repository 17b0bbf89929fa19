//! The coordinator: what it knows, and its beat.

use crate::orphans::Orphans;
use crate::processes::Watcher;
use crate::{Instant, Settings, State};
use farrow_control::coordination::{Counts, OrderId, ProcessId, Progress};
use farrow_layout::NodeId;
use farrow_mutant::{self as mutant, Mutant};
use std::collections::BTreeMap;

/// Decides who is in the cluster and what is to be done. It has no socket, no thread and no clock: requests come in as calls
/// with the time, and nothing waits.
///
/// Whoever drives it stores [`Coordinator::unstored`] before it lets out anything that a call has returned, and calls
/// [`Coordinator::tick`] no later than that says. It may go on while it stores: [`Coordinator::poll`] says what is stored.
#[derive(Debug)]
pub struct Coordinator {
    pub(crate) settings: Settings,
    pub(crate) state: State,
    /// Counts changes of the state.
    version: u64,
    /// The state that was stored last: all that anybody is told of.
    pub(crate) stored: State,
    stored_version: u64,
    /// When the lease of each node that is up began last: when it was heard, or this coordinator granted everybody a whole one.
    pub(crate) heard: BTreeMap<NodeId, Instant>,
    /// When each node was heard last, without what was granted on top: evidence that it is there.
    pub(crate) seen: BTreeMap<NodeId, Instant>,
    pub(crate) watchers: BTreeMap<ProcessId, Watcher>,
    pub(crate) progress: BTreeMap<OrderId, Progress>,
    /// Orders and attempts that each node was told last.
    pub(crate) told: BTreeMap<NodeId, Vec<(OrderId, u32)>>,
    /// When closings that are outstanding began.
    pub(crate) closed_at: BTreeMap<OrderId, Instant>,
    /// When a process said last that it cannot reach a node.
    pub(crate) reports: BTreeMap<(NodeId, ProcessId), Instant>,
    pub(crate) orphans: Orphans,
    pub(crate) counts: Counts,
    /// Whether no node was in touch at the last beat.
    pub(crate) is_isolated: bool,
    /// Leases that predecessors granted have ended by then.
    pub(crate) settled_at: Instant,
    ticked: Instant,
    /// What came in before may have been sent before this coordinator was stopped.
    pub(crate) believes_from: Instant,
}

impl Coordinator {
    /// The coordinator of a cluster that has no nodes yet.
    pub fn new(settings: Settings, now: Instant) -> Coordinator {
        let mut it = Coordinator::resume(State::founded(&settings), settings, now);
        it.version += 1;
        it
    }

    /// Goes on after a restart, or after another coordinator: everybody gets a whole lease from now.
    pub fn resume(state: State, settings: Settings, now: Instant) -> Coordinator {
        let longest = state.longest_lease_ns.max(settings.lease_ns);
        let mut it = Coordinator {
            settings,
            stored: state.clone(),
            state,
            version: 0,
            stored_version: 0,
            heard: BTreeMap::new(),
            seen: BTreeMap::new(),
            watchers: BTreeMap::new(),
            progress: BTreeMap::new(),
            told: BTreeMap::new(),
            closed_at: BTreeMap::new(),
            reports: BTreeMap::new(),
            orphans: Orphans::default(),
            counts: Counts::default(),
            is_isolated: false,
            settled_at: now + longest,
            ticked: now,
            believes_from: now,
        };
        if it.state.longest_lease_ns < longest {
            it.state_mut().longest_lease_ns = longest;
        }
        it.adopt_settings();
        it.grant_all(now);
        it
    }

    /// What is chosen anew with each start.
    fn adopt_settings(&mut self) {
        let (floor, coordinators) = (self.settings.floor(), self.settings.coordinators.clone());
        if self.state.map.write_floor != floor || self.state.map.coordinators != coordinators {
            let is_formed = self.state.is_formed();
            let state = self.state_mut();
            state.map.write_floor = floor;
            state.map.coordinators = coordinators;
            if is_formed {
                state.next_epoch();
            }
        }
    }

    /// Everybody gets a whole lease, and as much again as a longer one of a predecessor's may still run.
    pub(crate) fn grant_all(&mut self, now: Instant) {
        if mutant::is(Mutant::NoWholeLease) {
            return;
        }
        let extra = self.settled_at.since(now + self.settings.lease_ns);
        let now = now + extra;
        self.heard = self.state.map.nodes.iter().filter(|n| n.is_up()).map(|n| (n.id, now)).collect();
        for &process in self.state.clients.values() {
            let unknown = || Watcher { heard: now, who: "not heard of yet".into() };
            self.watchers.entry(process).or_insert_with(unknown);
        }
        self.watchers.values_mut().for_each(|watcher| watcher.heard = now);
        let closings = self.state.orders.iter().filter(|entry| entry.closing.is_some());
        self.closed_at = closings.map(|entry| (entry.order.id, now)).collect();
    }

    /// A coordinator that was stopped has heard nobody meanwhile, and that is not their fault. What it reads now was sent long ago,
    /// perhaps by somebody who is gone: for a moment nothing that comes in is evidence that anybody is there.
    pub(crate) fn note_absence(&mut self, now: Instant) {
        if now.since(self.ticked) <= self.settings.lease_ns / 2 {
            return;
        }
        self.ticked = now;
        self.seen.clear();
        self.reports.clear();
        self.orphans.clear();
        self.believes_from = now + self.settings.lease_ns / 8;
        self.grant_all(now);
    }

    /// Decides what time alone decides: who is lost, who takes an order over, what is to be done next. Says when to call
    /// again at the latest; calling earlier is fine, and so is calling after any request.
    pub fn tick(&mut self, now: Instant) -> Instant {
        self.note_absence(now);
        self.ticked = self.ticked.max(now);
        if self.state.longest_lease_ns > self.settings.lease_ns && now >= self.settled_at {
            let lease_ns = self.settings.lease_ns;
            self.state_mut().longest_lease_ns = lease_ns;
        }
        self.lose_nodes(now);
        self.lose_processes(now);
        self.form(now);
        self.drop_restores(now);
        self.take_orders_over(now);
        self.plan_change_of_view(now);
        self.plan_restores(now);
        self.plan_recoveries();
        self.plan_orphans();
        self.assign_orders(now);
        self.drop_notes(now);
        self.next_beat(now)
    }

    fn next_beat(&self, now: Instant) -> Instant {
        let nodes = self.heard.values().copied();
        let ends = nodes.chain(self.watchers.values().map(|w| w.heard));
        let ends = ends.map(|heard| heard + self.settings.lease_ns).filter(|&end| end > now);
        let beat = now + (self.settings.lease_ns / 8).max(1);
        ends.chain([beat]).min().unwrap_or(beat)
    }

    /// Volatile notes on what is no more.
    fn drop_notes(&mut self, now: Instant) {
        let lease_ns = self.settings.lease_ns;
        self.reports.retain(|_, last| now.since(*last) <= lease_ns);
        let state = &self.state;
        self.progress.retain(|id, _| state.order(*id).is_some());
        self.closed_at.retain(|id, _| state.order(*id).is_some_and(|entry| entry.closing.is_some()));
        let is_up = |node: &NodeId| state.map.node(*node).is_some_and(|n| n.is_up());
        self.told.retain(|node, _| is_up(node));
        self.seen.retain(|node, _| is_up(node));
    }

    /// The state, as it is now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What was chosen.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many changes of the state this coordinator has made.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The state, if it has changed since the one that was stored last.
    pub fn unstored(&self) -> Option<&State> {
        (!self.is_stored(self.version)).then_some(&self.state)
    }

    /// `state`, which is the state as it was at this version, is stored.
    pub fn stored(&mut self, version: u64, state: State) {
        (self.stored_version, self.stored) = (version, state);
    }

    /// The state that was stored last.
    pub fn stored_state(&self) -> &State {
        &self.stored
    }

    /// Whether the state is stored as it was at this version, or later.
    pub fn is_stored(&self, version: u64) -> bool {
        self.stored_version >= version
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.version += 1;
        &mut self.state
    }
}
