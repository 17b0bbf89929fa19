//! A client process: watches the coordinator, and is the product client's ways to the nodes.

use super::bell::Bell;
use super::cluster::Cluster;
use super::life::{NodeAsk, NodeTell};
use super::net::Party;
use super::session::{NotDone, Session};
use crate::whole::mailbox::Mailbox;
use farrow_client::{GrantError, Granting, LinkError, Linking, Routes, Space, Waiting, grant};
use farrow_control::coordination::{Ask, Decision, Denial, ProcessId, Tell};
use farrow_control::map::ClusterMap;
use farrow_control::message::{Refusal, Reply, Request};
use farrow_fabric_sim::{SimFabric, SimLink, TaskId};
use farrow_layout::{ClientId, Epoch, HomeId, NodeId};
use farrow_protocol::Extent;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One process with one client.
pub(super) struct Process {
    cluster: Rc<Cluster>,
    pub(super) number: usize,
    pub(super) fabric: SimFabric,
    name: Cell<ProcessId>,
    id: Cell<ClientId>,
    map: RefCell<Arc<ClusterMap>>,
    news: Bell,
    /// With the id that has joined on it.
    sessions: RefCell<BTreeMap<NodeId, (ClientId, Rc<Session>)>>,
    tasks: RefCell<Vec<TaskId>>,
    /// Extents of the present id that were granted and are not known to be sealed.
    open: Cell<u64>,
    is_paused: Cell<bool>,
    pub(super) is_over: Cell<bool>,
}

/// The product client's ways, of one process.
#[derive(Clone)]
pub(super) struct Ways(pub(super) Rc<Process>);

impl Process {
    /// Gets a map and an id for its client, as long as that takes. From when it has tasks of its own it is in `place`, for whoever
    /// stops it.
    pub(super) async fn start(
        cluster: Rc<Cluster>,
        number: usize,
        fabric: SimFabric,
        place: &RefCell<Option<Rc<Process>>>,
    ) -> Rc<Process> {
        let name = ProcessId(cluster.fresh());
        let here = Party::Process(number);
        let who = || "simulated".to_owned();
        let map = loop {
            let watch = Ask::Watch { process: name, who: who(), epoch: Epoch(0) };
            match cluster.ask(here, watch, cluster.lease_ns()).await {
                Some(Tell::News(news)) => {
                    if let Some(map) = news.map {
                        break map;
                    }
                }
                _ => cluster.sleep(cluster.lease_ns() / 16).await,
            }
        };
        let process = Rc::new(Process {
            cluster: cluster.clone(),
            number,
            fabric,
            name: Cell::new(name),
            id: Cell::new(ClientId(0)),
            map: RefCell::new(Arc::new(map)),
            news: Bell::default(),
            sessions: RefCell::default(),
            tasks: RefCell::default(),
            open: Cell::default(),
            is_paused: Cell::default(),
            is_over: Cell::default(),
        });
        *place.borrow_mut() = Some(process.clone());
        process.spawn(watch(process.clone()));
        while process.take_id().await.is_err() {
            cluster.sleep(cluster.lease_ns() / 16).await;
        }
        process
    }

    fn here(&self) -> Party {
        Party::Process(self.number)
    }

    fn patience(&self) -> Duration {
        Duration::from_nanos(self.cluster.lease_ns() / 2)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let (world, id) = (&self.cluster.world, self.cluster.world.spawn(&self.cluster.time, task));
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|task| !world.has_ended(*task));
        tasks.push(id);
        if self.is_paused.get() {
            world.pause(id);
        }
    }

    pub(super) fn pause(&self) {
        self.is_paused.set(true);
        self.tasks.borrow().iter().for_each(|task| self.cluster.world.pause(*task));
    }

    pub(super) fn resume(&self) {
        self.is_paused.set(false);
        self.tasks.borrow().iter().for_each(|task| self.cluster.world.resume(*task));
    }

    /// The process is gone.
    pub(super) fn stop(&self) {
        self.is_over.set(true);
        for task in self.tasks.take() {
            self.cluster.world.stop(task);
        }
        drop(self.sessions.take());
    }

    /// The client has ended: says so to the nodes and the coordinator.
    pub(super) async fn leave(&self) {
        let (client, process) = (self.id.get(), self.name.get());
        // What is being sealed just now.
        self.cluster.sleep(self.cluster.lease_ns() / 16).await;
        let sessions = self.sessions.take();
        for (_, session) in sessions.values() {
            let _ = session.call(Request::Leave { client }, self.patience()).await;
        }
        let is_clean = self.open.get() == 0;
        let farewell = Ask::LeaveClient { process, client, is_clean };
        let _ = self.cluster.ask(self.here(), farewell, self.cluster.lease_ns()).await;
        self.is_over.set(true);
    }

    async fn take_id(&self) -> Result<(), String> {
        let asked = Ask::NewClient { process: self.name.get() };
        match self.cluster.ask(self.here(), asked, self.cluster.lease_ns()).await {
            Some(Tell::Client(id)) => {
                self.id.set(id);
                self.open.set(0);
                Ok(())
            }
            Some(Tell::Denied(Denial::ProcessLost(lost))) => {
                self.rename_process(lost);
                Err("the process was taken for lost".into())
            }
            other => Err(format!("no id: {other:?}")),
        }
    }

    fn rename_process(&self, lost: ProcessId) {
        if self.name.get() == lost {
            self.name.set(ProcessId(self.cluster.fresh()));
        }
    }

    async fn session(&self, node: NodeId) -> Result<Rc<Session>, LinkError> {
        let (map, id) = (self.map.borrow().clone(), self.id.get());
        let known = self.sessions.borrow().get(&node).cloned();
        match known {
            Some((of, session)) if of == id && !session.is_broken() => return Ok(session),
            _ => drop(self.sessions.borrow_mut().remove(&node)),
        }
        let silent = || LinkError::Unreachable(format!("{node} does not answer"));
        let entry = map.node(node).ok_or_else(silent)?;
        let dialled = Session::dial(&self.cluster, self.here(), entry, self.patience()).await;
        let session = dialled.ok_or_else(silent)?;
        session.call(Request::Join { client: id }, self.patience()).await.map_err(|e| unlinked(&e))?;
        let session = Rc::new(session);
        self.sessions.borrow_mut().insert(node, (id, session.clone()));
        Ok(session)
    }

    async fn open_extent(&self, primary: NodeId, home: HomeId, bytes: u64) -> Result<Extent, GrantError> {
        let away = |why: String| GrantError::Unavailable(why);
        let session = self.session(primary).await.map_err(|e| away(e.to_string()))?;
        let client = self.id.get();
        match session.call(Request::OpenExtent { client, home, bytes }, self.patience()).await {
            Ok(Reply::Extent(granted)) => {
                if self.id.get() == client {
                    self.open.set(self.open.get() + 1);
                }
                Ok(grant::extent(client, home, &granted))
            }
            Ok(other) => panic!("a node answered a request for an extent with {other:?}"),
            Err(NotDone::Refused(refusal)) => Err(grant::refused(&refusal)),
            Err(NotDone::Silent) => Err(away(format!("{primary} does not answer"))),
        }
    }

    async fn link(&self, node: NodeId) -> Result<(SimLink, Epoch), LinkError> {
        let (session, id) = (self.session(node).await?, self.id.get());
        match session.ask(NodeAsk::Link(id, self.fabric.clone()), self.patience()).await {
            Ok(NodeTell::Link(link, epoch)) => Ok((link, epoch)),
            Ok(NodeTell::Plain(_)) => unreachable!("a link was asked for"),
            Err(why) => {
                self.sessions.borrow_mut().remove(&node);
                Err(unlinked(&why))
            }
        }
    }
}

fn unlinked(why: &NotDone) -> LinkError {
    match why {
        NotDone::Refused(Refusal::Evicted(_)) => LinkError::Evicted,
        NotDone::Refused(refusal) => LinkError::Unreachable(refusal.to_string()),
        NotDone::Silent => LinkError::Unreachable("no answer".into()),
    }
}

/// Hears of later maps, and keeps the lease.
async fn watch(process: Rc<Process>) {
    let cluster = process.cluster.clone();
    while !process.is_over.get() {
        let (name, epoch) = (process.name.get(), process.map.borrow().epoch);
        let asked = Ask::Watch { process: name, who: "simulated".to_owned(), epoch };
        match cluster.ask(process.here(), asked, cluster.lease_ns()).await {
            Some(Tell::News(news)) => {
                if let Some(map) = news.map.filter(|map| map.epoch > process.map.borrow().epoch) {
                    *process.map.borrow_mut() = Arc::new(map);
                    process.news.ring();
                }
            }
            Some(Tell::Denied(Denial::ProcessLost(lost))) => process.rename_process(lost),
            Some(other) => panic!("a client that watches was answered {other:?}"),
            None => {}
        }
        cluster.sleep(cluster.lease_ns() / 32).await;
    }
}

impl Routes<SimFabric> for Ways {
    fn id(&self) -> ClientId {
        self.0.id.get()
    }

    fn map(&self) -> Arc<ClusterMap> {
        self.0.map.borrow().clone()
    }

    fn newer_than(&self, epoch: Epoch) -> Waiting<()> {
        let process = self.0.clone();
        Box::pin(async move {
            while process.map.borrow().epoch <= epoch {
                process.news.after(process.news.count()).await;
            }
        })
    }

    fn link(&self, node: NodeId) -> Linking<SimLink> {
        let process = self.0.clone();
        Box::pin(async move { process.link(node).await })
    }

    fn report(&self, node: NodeId, for_ns: u64, why: String) -> Waiting<Decision> {
        let process = self.0.clone();
        Box::pin(async move {
            let asked = Ask::Unreachable { process: process.name.get(), node, for_ns, why };
            match process.cluster.ask(process.here(), asked, process.cluster.lease_ns()).await {
                Some(Tell::Decided(decision)) => decision,
                _ => Decision::Undecided,
            }
        })
    }

    fn rename(&self, old: ClientId) -> Waiting<Result<(), String>> {
        let process = self.0.clone();
        Box::pin(async move {
            if process.id.get() != old {
                return Ok(());
            }
            // The first time may say that the whole process was lost.
            match process.take_id().await {
                Ok(()) => Ok(()),
                Err(_) => process.take_id().await,
            }
        })
    }
}

impl Space for Ways {
    fn open(&self, primary: NodeId, home: HomeId, bytes: u64) -> Granting {
        let (process, answer) = (self.0.clone(), Mailbox::new());
        let coming = answer.clone();
        // Sent at once, whoever waits for it.
        self.0.spawn(async move {
            let _ = answer.send(process.open_extent(primary, home, bytes).await);
        });
        Box::pin(async move { coming.receive().await.expect("it is answered") })
    }

    fn seal(&self, primary: NodeId, extent: &Extent, used: u64) {
        let (process, client) = (self.0.clone(), extent.word.owner());
        if process.is_over.get() {
            return;
        }
        let request = grant::seal(client, extent, used);
        self.0.spawn(async move {
            if let Ok(session) = process.session(primary).await {
                let sealed = session.call(request, process.patience()).await;
                if sealed.is_ok() && process.id.get() == client {
                    process.open.set(process.open.get().saturating_sub(1));
                }
            }
        });
    }
}
