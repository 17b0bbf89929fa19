//! One life of a memory node: its memory, its books, its lease, and what it does on request.

use super::bell::Bell;
use super::clock::Clock;
use super::cluster::Cluster;
use super::net::Party;
use super::orders::Orders;
use crate::whole::node::SimMemory;
use farrow_control::coordination::Order;
use farrow_control::map::ClusterMap;
use farrow_control::message::{Refusal, Reply, Request};
use farrow_fabric_sim::{SimFabric, SimLink, TaskId};
use farrow_layout::{ClientId, Epoch, HomeId, Incarnation, NodeId};
use farrow_node::{Ledger, Promises, Segments, SessionId, check_fence, format};
use farrow_protocol::mutant::{self, Mutant};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Clients that a node lets join: more than any scenario has.
const MAX_CLIENTS: u32 = 4096;

/// What a node is asked.
pub(super) enum NodeAsk {
    /// A link for a client that has joined, of this fabric.
    Link(ClientId, SimFabric),
    Plain(Request),
}

/// What it answers.
pub(super) enum NodeTell {
    Link(SimLink, Epoch),
    Plain(Reply),
}

struct Given {
    client: ClientId,
    fabric: usize,
    to: Party,
    link: usize,
}

pub(super) struct Life {
    pub(super) machine: usize,
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) clock: Clock,
    memory: SimMemory,
    pub(super) ledger: Ledger<SimMemory>,
    map: RefCell<Arc<ClusterMap>>,
    epoch: Cell<Epoch>,
    lease_until: Cell<u64>,
    leased: Bell,
    promises: Promises,
    segments: Segments,
    pub(super) orders: Orders,
    given: RefCell<Vec<Given>>,
    tasks: RefCell<Vec<TaskId>>,
    /// Clients whose ids were refused for good: what an oracle knows of it.
    evicted: RefCell<BTreeSet<ClientId>>,
    /// What its agents are at, as far as they have said.
    pub(super) doing: Cell<&'static str>,
    pub(super) is_paused: Cell<bool>,
    pub(super) is_over: Cell<bool>,
    /// Rings when the node hears that it was passed over.
    pub(super) deposed: Bell,
}

impl Life {
    /// Formats the memory of `node` and offers it.
    pub(super) fn start(
        cluster: &Cluster,
        machine: usize,
        clock: Clock,
        node: NodeId,
        incarnation: Incarnation,
        map: ClusterMap,
    ) -> Rc<Life> {
        cluster.make_memory(node);
        let memory = SimMemory::new(cluster.world.clone(), node);
        format(&memory, cluster.memory_len, &map, node, incarnation);
        Rc::new(Life {
            machine,
            node,
            incarnation,
            clock,
            ledger: Ledger::new(&map, node, MAX_CLIENTS, &memory),
            memory,
            epoch: Cell::new(map.epoch),
            segments: Segments::new(&map, node),
            map: RefCell::new(Arc::new(map)),
            lease_until: Cell::default(),
            leased: Bell::default(),
            promises: Promises::default(),
            orders: Orders::default(),
            given: RefCell::default(),
            tasks: RefCell::default(),
            evicted: RefCell::default(),
            doing: Cell::new("nothing"),
            is_paused: Cell::default(),
            is_over: Cell::default(),
            deposed: Bell::default(),
        })
    }

    pub(super) fn map(&self) -> Arc<ClusterMap> {
        self.map.borrow().clone()
    }

    pub(super) fn is_set_aside(&self, home: HomeId) -> bool {
        self.segments.is_set_aside(home)
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch.get()
    }

    pub(super) fn now(&self, cluster: &Cluster) -> u64 {
        self.clock.at(cluster.now())
    }

    /// A lease only grows.
    pub(super) fn set_lease(&self, until: u64) {
        if until > self.lease_until.get() {
            self.lease_until.set(until);
            self.leased.ring();
        }
    }

    pub(super) fn lease_until(&self) -> u64 {
        self.lease_until.get()
    }

    pub(super) fn is_leased(&self, cluster: &Cluster) -> bool {
        self.now(cluster) < self.lease_until.get()
    }

    /// A task of this node's daemon.
    pub(super) fn spawn(
        &self,
        cluster: &Cluster,
        fabric: &SimFabric,
        task: impl Future<Output = ()> + 'static,
    ) {
        let id = cluster.world.spawn(fabric, task);
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|task| !cluster.world.has_ended(*task));
        tasks.push(id);
        if self.is_paused.get() {
            cluster.world.pause(id);
        }
    }

    pub(super) fn pause(&self, cluster: &Cluster) {
        self.is_paused.set(true);
        self.tasks.borrow().iter().for_each(|task| cluster.world.pause(*task));
    }

    pub(super) fn resume(&self, cluster: &Cluster) {
        self.is_paused.set(false);
        self.tasks.borrow().iter().for_each(|task| cluster.world.resume(*task));
    }

    /// The process is gone, with its memory.
    pub(super) fn end(&self, cluster: &Cluster) {
        if self.is_over.replace(true) {
            return;
        }
        for task in self.tasks.take() {
            cluster.world.stop(task);
        }
        cluster.world.kill_node(self.node);
        self.leased.ring();
    }

    fn take_back(&self, cluster: &Cluster, is_taken: impl Fn(&Given) -> bool) {
        self.given.borrow_mut().retain(|given| {
            let is_taken = is_taken(given);
            if is_taken {
                cluster.world.revoke_link(given.link);
            }
            !is_taken
        });
    }

    /// The way between the node and somebody is cut: what is on it gets there in part.
    pub(super) fn lose_links(&self, cluster: &Cluster, to: Party) {
        self.given.borrow_mut().retain(|given| {
            if given.to == to {
                cluster.world.lose_link(given.link);
            }
            given.to != to
        });
    }

    /// Looks at the lease as everybody does who uses the memory: whether the daemon runs or not.
    pub(super) async fn watch_lease(self: Rc<Self>, cluster: Rc<Cluster>) {
        while !self.is_over.get() {
            let seen = self.leased.count();
            let until = self.lease_until.get();
            if self.now(&cluster) < until {
                farrow_fabric::Fabric::sleep_until(&cluster.time, self.clock.when(until)).await;
                continue;
            }
            cluster.world.note(|| format!("{}: its lease is over", self.node));
            self.take_back(&cluster, |_| true);
            self.leased.after(seen).await;
        }
    }

    /// As the daemon's: goes by a later map.
    pub(super) fn adopt(&self, map: &ClusterMap) -> Result<(), Refusal> {
        let latest = self.map();
        if map.epoch <= latest.epoch {
            return Ok(());
        }
        let is_ours = (&map.name, map.geometry, map.commit) == (&latest.name, latest.geometry, latest.commit);
        assert!(is_ours && !map.is_static(), "a map of another cluster: {map:?}");
        if let Some(why) = map.defect() {
            panic!("the coordinator's map of epoch {}: {why}", map.epoch);
        }
        self.ledger.adopt(map);
        *self.map.borrow_mut() = Arc::new(map.clone());
        Ok(())
    }

    pub(super) fn set_orders(&self, orders: Vec<Order>) {
        self.orders.set(orders);
    }

    /// The session of some clients has ended.
    pub(super) fn end_session(&self, cluster: &Cluster, session: SessionId) {
        for (client, ()) in self.ledger.end(session) {
            self.take_back(cluster, |given| given.client == client);
        }
    }

    async fn fence(&self, cluster: &Cluster, epoch: Epoch, deposed: &[NodeId]) -> Result<Reply, Refusal> {
        if deposed.contains(&self.node) {
            return Err(Refusal::Deposed(self.node));
        }
        if self.map().epoch < epoch {
            self.ledger.close_all();
        }
        let left = self.promises.end(deposed, self.now(cluster));
        check_fence(self.epoch.get(), epoch)?;
        self.epoch.set(epoch);
        let links = self.given.borrow().len() as u32;
        self.take_back(cluster, |_| !mutant::is(Mutant::NotFenced));
        let until = self.now(cluster) + left.as_nanos() as u64;
        farrow_fabric::Fabric::sleep_until(&cluster.time, self.clock.when(until)).await;
        Ok(Reply::Fenced { links })
    }

    fn promise(
        &self,
        cluster: &Cluster,
        peer: NodeId,
        of: Incarnation,
        for_ms: u64,
    ) -> Result<Reply, Refusal> {
        let map = self.map();
        if !map.node(peer).is_some_and(|entry| entry.is_up() && entry.incarnation == of) {
            return Err(Refusal::Deposed(peer));
        }
        self.promises.give(peer, Duration::from_millis(for_ms), self.now(cluster))?;
        Ok(Reply::Promised)
    }

    fn link(
        &self,
        cluster: &Cluster,
        to: Party,
        client: ClientId,
        fabric: &SimFabric,
    ) -> Result<NodeTell, Refusal> {
        if !self.ledger.is_joined(client) {
            let refused = self.ledger.leave(client, SessionId(u64::MAX));
            return Err(refused.expect_err("it has not joined"));
        }
        if !self.is_leased(cluster) {
            return Err(Refusal::NoLease);
        }
        // What it left was put in order, and its extents were sealed.
        assert!(!self.evicted.borrow().contains(&client), "{client} was evicted, and gets a link again");
        let number = fabric.client();
        self.take_back(cluster, |given| given.client == client || given.fabric == number);
        let link = fabric.link(self.node);
        self.given.borrow_mut().push(Given { client, fabric: number, to, link: link.number() });
        Ok(NodeTell::Link(link, self.epoch.get()))
    }

    /// Carries out one request of `session`, which `from` sent.
    pub(super) async fn carry_out(
        &self,
        cluster: &Cluster,
        session: SessionId,
        from: Party,
        ask: NodeAsk,
    ) -> Result<NodeTell, Refusal> {
        let request = match ask {
            NodeAsk::Link(client, fabric) => return self.link(cluster, from, client, &fabric),
            NodeAsk::Plain(request) => request,
        };
        let reply = match request {
            Request::Join { client } => {
                self.ledger.join(client, session, &Arc::default())?;
                Reply::Joined
            }
            Request::Leave { client } => {
                self.ledger.leave(client, session)?;
                self.take_back(cluster, |given| given.client == client);
                Reply::Done
            }
            Request::OpenExtent { client, home, bytes } => {
                Reply::Extent(self.ledger.open(client, session, home, bytes)?)
            }
            Request::SealExtent { client, home, grant, used } => {
                self.ledger.seal(client, session, home, &grant, used)?;
                Reply::Done
            }
            Request::Fence { epoch, deposed } => self.fence(cluster, epoch, &deposed).await?,
            Request::Adopt { map } => {
                self.adopt(&map)?;
                Reply::Done
            }
            Request::Evict { client } => {
                let (_, open) = self.ledger.evict(client);
                self.evicted.borrow_mut().insert(client);
                self.take_back(cluster, |given| given.client == client);
                Reply::Evicted { open }
            }
            Request::SealFor { client, home, grant, used } => {
                self.ledger.seal_for(client, home, &grant, used)?;
                Reply::Done
            }
            Request::Prepare { home, segment, epoch } => {
                let map = self.map();
                let room = map.plan().expect("a map in use").segments_in(cluster.memory_len);
                self.segments.prepare(&self.memory, &map, room, home, segment, epoch)?;
                Reply::Done
            }
            Request::Promise { node, incarnation, for_ms } => {
                self.promise(cluster, node, incarnation, for_ms)?
            }
            other => panic!("nobody asks a simulated node for {other:?}"),
        };
        Ok(NodeTell::Plain(reply))
    }
}
