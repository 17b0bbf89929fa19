//! A machine: starts memory nodes, one life after the other, and runs what the product's daemon runs in threads.

use super::clock::Clock;
use super::cluster::Cluster;
use super::field::Ground;
use super::life::Life;
use super::net::Party;
use super::session::Session;
use farrow_agent::{AgentError, Restores, change_view, recover};
use farrow_control::coordination::{Ask, Denial, MAX_ORPHANS, Order, Registration, Renewal, Task, Tell};
use farrow_control::map::ClusterMap;
use farrow_control::message::{Reply, Request};
use farrow_fabric::join_all;
use farrow_fabric_sim::TaskId;
use farrow_layout::{Epoch, NodeId};
use farrow_node::{has_closed_home, peers_of, renewal_epoch, served};
use farrow_protocol::Events;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Bytes of buffers that an agent has.
const BUFFERS: usize = 64 << 20;

pub(super) struct Machine {
    pub(super) number: usize,
    pub(super) address: String,
    clock: Clock,
    life: RefCell<Option<Rc<Life>>>,
    main: Cell<Option<TaskId>>,
    pub(super) is_paused: Cell<bool>,
}

impl Machine {
    pub(super) fn new(number: usize, clock: Clock) -> Machine {
        let (life, main, is_paused) = (RefCell::default(), Cell::default(), Cell::default());
        Machine { number, address: format!("machine{number}:1"), clock, life, main, is_paused }
    }

    pub(super) fn life(&self) -> Option<Rc<Life>> {
        self.life.borrow().clone()
    }

    pub(super) fn is_running(&self) -> bool {
        self.main.get().is_some()
    }
}

impl Cluster {
    /// The machine's daemon starts with empty memory.
    pub(super) fn start_machine(self: &Rc<Self>, number: usize) {
        let machine = &self.machines[number];
        if !machine.is_running() {
            machine.main.set(Some(self.world.spawn(&self.time, run(self.clone(), number))));
        }
    }

    /// The machine's daemon is gone with its memory.
    pub(super) fn kill_machine(&self, number: usize) {
        let machine = &self.machines[number];
        if let Some(main) = machine.main.take() {
            self.world.stop(main);
        }
        machine.is_paused.set(false);
        if let Some(life) = machine.life.take() {
            life.end(self);
        }
    }

    pub(super) fn pause_machine(&self, number: usize) {
        let machine = &self.machines[number];
        machine.is_paused.set(true);
        machine.main.get().into_iter().for_each(|task| self.world.pause(task));
        machine.life().into_iter().for_each(|life| life.pause(self));
    }

    pub(super) fn resume_machine(&self, number: usize) {
        let machine = &self.machines[number];
        machine.is_paused.set(false);
        machine.main.get().into_iter().for_each(|task| self.world.resume(task));
        machine.life().into_iter().for_each(|life| life.resume(self));
    }

    fn lease(&self) -> Duration {
        Duration::from_nanos(self.lease_ns())
    }
}

async fn run(cluster: Rc<Cluster>, number: usize) {
    loop {
        let life = register(&cluster, number).await;
        let machine = &cluster.machines[number];
        *machine.life.borrow_mut() = Some(life.clone());
        cluster.spawn(life.clone().watch_lease(cluster.clone()));
        life.spawn(&cluster, &cluster.time, beat(cluster.clone(), life.clone()));
        life.spawn(&cluster, &cluster.time, keep(cluster.clone(), life.clone()));
        let (urgent_fabric, background_fabric) =
            (cluster.world.fabric(BUFFERS), cluster.world.fabric(BUFFERS));
        let ground = Ground::new(&cluster, &life, &urgent_fabric, 0);
        life.spawn(&cluster, &urgent_fabric, urgent(cluster.clone(), life.clone(), ground));
        let ground = Ground::new(&cluster, &life, &background_fabric, 1);
        life.spawn(&cluster, &background_fabric, background(cluster.clone(), life.clone(), ground));
        life.deposed.after(0).await;
        // M-8: what the memory holds is given up, and another node comes.
        cluster.world.note(|| format!("{} hears that it was passed over", life.node));
        machine.life.take();
        life.end(&cluster);
        cluster.sleep(cluster.world.draw(cluster.lease_ns() / 2)).await;
    }
}

/// As the daemon does: until it is in, and the cluster has its homes.
async fn register(cluster: &Rc<Cluster>, number: usize) -> Rc<Life> {
    let (machine, here, lease) = (&cluster.machines[number], Party::Machine(number), cluster.lease_ns());
    'anew: loop {
        let offer = Registration {
            incarnation: cluster.fresh_incarnation(),
            address: machine.address.clone(),
            domain: machine.address.clone(),
            memory_len: cluster.memory_len,
        };
        let (node, mut map) = loop {
            match cluster.ask(here, Ask::Register(offer.clone()), lease / 2).await {
                Some(Tell::Registered { node, map }) => break (node, *map),
                Some(Tell::Denied(Denial::Deposed(_))) => continue 'anew,
                Some(other) => panic!("a registration was answered with {other:?}"),
                None => cluster.sleep(lease / 8).await,
            }
        };
        loop {
            let sent = machine.clock.at(cluster.now());
            let epoch = if map.homes.is_empty() { Epoch(0) } else { map.epoch };
            let renewal = Renewal {
                node,
                incarnation: offer.incarnation,
                epoch,
                progress: Vec::new(),
                orphans: Vec::new(),
            };
            match cluster.ask(here, Ask::Renew(renewal), lease).await {
                Some(Tell::News(news)) => map = news.map.unwrap_or(map),
                Some(Tell::Denied(Denial::Deposed(_))) => continue 'anew,
                Some(other) => panic!("a renewal was answered with {other:?}"),
                None => {
                    cluster.sleep(lease / 8).await;
                    continue;
                }
            }
            if !map.homes.is_empty() {
                let life = Life::start(cluster, number, machine.clock, node, offer.incarnation, map);
                life.set_lease(sent + served(cluster.lease()));
                return life;
            }
        }
    }
}

/// As the daemon's heartbeat, with its patience: a coordinator that starts anew grants a whole lease, and a node that still waited
/// for an answer of the one before would sleep through it.
async fn beat(cluster: Rc<Cluster>, life: Rc<Life>) {
    let lease = cluster.lease_ns();
    loop {
        let (begun, sent) = (cluster.now(), life.now(&cluster));
        let renewal = Renewal {
            node: life.node,
            incarnation: life.incarnation,
            epoch: renewal_epoch(life.map().epoch, life.lease_until().saturating_sub(sent), cluster.lease()),
            progress: life.orders.progress(),
            orphans: life.ledger.orphans(MAX_ORPHANS),
        };
        match cluster.ask(Party::Machine(life.machine), Ask::Renew(renewal), lease / 2).await {
            Some(Tell::News(news)) => {
                life.set_lease(sent + served(cluster.lease()));
                if let Some(map) = &news.map {
                    life.adopt(map).expect("the coordinator's maps can be used");
                }
                life.set_orders(news.orders);
            }
            Some(Tell::Denied(Denial::Deposed(_))) => return life.deposed.ring(),
            Some(other) => panic!("a renewal was answered with {other:?}"),
            None => {}
        }
        cluster.sleep((lease / 32).saturating_sub(cluster.now().since(begun))).await;
    }
}

/// As the daemon's keeper.
async fn keep(cluster: Rc<Cluster>, life: Rc<Life>) {
    let lease = cluster.lease_ns();
    loop {
        let now = life.now(&cluster);
        let left = life.lease_until().saturating_sub(now);
        if left < served(cluster.lease()) / 3 && are_promises_given(&cluster, &life).await {
            life.set_lease(now + served(cluster.lease()));
        }
        cluster.sleep(lease / 16).await;
    }
}

async fn are_promises_given(cluster: &Rc<Cluster>, life: &Life) -> bool {
    let map = life.map();
    if map.epoch < life.epoch() || has_closed_home(&map, life.node, |home| life.is_set_aside(home)) {
        return false;
    }
    let request = Request::Promise {
        node: life.node,
        incarnation: life.incarnation,
        for_ms: cluster.lease().as_millis() as u64,
    };
    let peers = peers_of(&map, life.node);
    let asked = peers.iter().map(|peer| Box::pin(is_promised(cluster, life, &map, *peer, &request)));
    join_all(asked.collect::<Vec<_>>()).await.into_iter().all(|is_promised| is_promised)
}

async fn is_promised(
    cluster: &Rc<Cluster>,
    life: &Life,
    map: &ClusterMap,
    peer: NodeId,
    request: &Request,
) -> bool {
    let (here, patience) = (Party::Machine(life.machine), cluster.lease() / 4);
    let Some(entry) = map.node(peer) else { return false };
    let Some(session) = Session::dial(cluster, here, entry, patience).await else { return false };
    matches!(session.call(request.clone(), patience).await, Ok(Reply::Promised))
}

/// Between two attempts at an order that failed, and at the longest between two looks for one.
fn pauses(cluster: &Cluster) -> (Duration, Duration) {
    (cluster.lease() / 32, cluster.lease())
}

/// As the daemon's urgent agent.
async fn urgent(cluster: Rc<Cluster>, life: Rc<Life>, ground: Ground) {
    let ((pause, idle), events) = (pauses(&cluster), Events::default());
    loop {
        let is_mine = |order: &Order| matches!(order.task, Task::ChangeView { .. });
        let Some(order) = life.orders.wait_for(&cluster, idle, is_mine).await.into_iter().next() else {
            continue;
        };
        match change_view(&ground, &events, &order).await {
            Ok(_) => life.orders.finish(&order),
            Err(error) => failed(&cluster, &life, &order, &error, pause).await,
        }
    }
}

/// As the daemon's background agent.
async fn background(cluster: Rc<Cluster>, life: Rc<Life>, ground: Ground) {
    let ((pause, idle), events) = (pauses(&cluster), Events::default());
    let mut restores = Restores::default();
    loop {
        let wait = if restores.is_busy() { pause } else { idle };
        let is_mine = |order: &Order| !matches!(order.task, Task::ChangeView { .. });
        let orders = life.orders.wait_for(&cluster, wait, is_mine).await;
        for order in &orders {
            if let Task::RecoverClient { client } = order.task {
                match recover(&ground, &events, order, client).await {
                    Ok(()) => life.orders.finish(order),
                    Err(error) => failed(&cluster, &life, order, &error, pause).await,
                }
            }
        }
        let ended = restores.work(&ground, &events, &orders).await;
        ended.iter().for_each(|order| life.orders.finish(order));
        cluster.sleep(pause.as_nanos() as u64).await;
    }
}

async fn failed(cluster: &Cluster, life: &Life, order: &Order, error: &AgentError, pause: Duration) {
    cluster.world.note(|| format!("{}: order {} {error}", life.node, order.id));
    if error.is_superseded() {
        return life.orders.finish(order);
    }
    cluster.sleep(pause.as_nanos() as u64).await;
}
