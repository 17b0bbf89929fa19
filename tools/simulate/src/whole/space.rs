//! A client's side of the control plane: what `farrow-client` does with a thread a node, done with a task a node.

use super::cluster::Cluster;
use super::mailbox::Mailbox;
use super::node::{Call, serve, travel};
use farrow_client::{GrantError, Granting, LinkError, Linking, Routes, Space, Waiting, grant};
use farrow_control::coordination::Decision;
use farrow_control::map::ClusterMap;
use farrow_control::message::{Reply, Request};
use farrow_fabric_sim::{SimFabric, SimLink, TaskId};
use farrow_layout::{ClientId, Epoch, HomeId, NodeId};
use farrow_node::SessionId;
use farrow_protocol::Extent;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// What a client's tasks that talk to nodes are asked to do.
enum Job {
    Open { home: HomeId, bytes: u64, answer: Mailbox<Result<Extent, GrantError>> },
    Tell(Request),
}

/// One session, as the client sees it.
struct Session {
    client: ClientId,
    inbox: Mailbox<Call>,
    /// Where the reply to the request in flight arrives.
    waiting: RefCell<Option<Mailbox<Reply>>>,
}

impl Session {
    /// A request and its reply; `None` when the session is over.
    async fn call(&self, request: Request) -> Option<Reply> {
        let reply = Mailbox::new();
        *self.waiting.borrow_mut() = Some(reply.clone());
        self.inbox.send(Call { request, reply: reply.clone() }).ok()?;
        reply.receive().await
    }

    fn lose(&self) {
        self.inbox.close();
        if let Some(reply) = &*self.waiting.borrow() {
            reply.close();
        }
    }
}

/// The way to one node.
struct Desk {
    jobs: Mailbox<Job>,
    session: Rc<Session>,
    worker: TaskId,
}

/// A client's ways to all nodes. Clones are the same.
#[derive(Clone)]
pub(super) struct Desks(Rc<Inner>);

struct Inner {
    client: ClientId,
    desks: Vec<Desk>,
    cluster: Cluster,
    fabric: SimFabric,
    is_dead: Cell<bool>,
}

impl Desks {
    /// Joins `client` at every node that is alive.
    pub(super) fn join(cluster: &Cluster, client: ClientId, fabric: &SimFabric) -> Desks {
        let mut desks = Vec::new();
        for node in cluster.nodes.iter() {
            let session = SessionId(cluster.next_session());
            let (inbox, jobs) = (Mailbox::new(), Mailbox::new());
            if cluster.reach.is_alive(node.id) {
                node.ledger.join(client, session, &Default::default()).expect("ids are given out once");
                let served = serve(cluster.clone(), node.id, session, inbox.clone());
                cluster.world.spawn(&cluster.daemons, served);
            } else {
                inbox.close();
            }
            let session = Rc::new(Session { client, inbox, waiting: RefCell::default() });
            let worker = cluster.world.spawn(&cluster.daemons, work(session.clone(), jobs.clone()));
            desks.push(Desk { jobs, session, worker });
        }
        let (cluster, fabric) = (cluster.clone(), fabric.clone());
        Desks(Rc::new(Inner { client, desks, cluster, fabric, is_dead: Cell::new(false) }))
    }

    /// The session with a node breaks. What was sent on it is still carried out.
    pub(super) fn lose(&self, node: NodeId) {
        self.0.desks[usize::from(node.0)].session.lose();
    }

    /// The client's process is gone: nothing more is asked, and nodes see the ends of their sessions.
    pub(super) fn die(&self, cluster: &Cluster) {
        self.0.is_dead.set(true);
        for desk in &self.0.desks {
            cluster.world.stop(desk.worker);
            desk.session.lose();
        }
    }

    /// The tasks that talk to nodes, to be paused with their client.
    pub(super) fn workers(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.0.desks.iter().map(|desk| desk.worker)
    }

    fn desk(&self, node: NodeId) -> &Desk {
        &self.0.desks[usize::from(node.0)]
    }
}

/// Space from the nodes' control planes. Dropping it leaves the cluster.
pub(super) struct SimSpace(pub(super) Desks);

/// A wait for an extent; once it is dropped nobody waits.
struct Hearing(Mailbox<Result<Extent, GrantError>>);

impl Drop for Hearing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Space for SimSpace {
    fn open(&self, primary: NodeId, home: HomeId, bytes: u64) -> Granting {
        let waiting = Hearing(Mailbox::new());
        let job = Job::Open { home, bytes, answer: waiting.0.clone() };
        let asked = self.0.desk(primary).jobs.send(job).is_ok();
        Box::pin(async move {
            let over = || GrantError::Unavailable("the node's control session has ended".into());
            if !asked {
                return Err(over());
            }
            waiting.0.receive().await.unwrap_or_else(|| Err(over()))
        })
    }

    fn seal(&self, primary: NodeId, extent: &Extent, used: u64) {
        if !self.0.0.is_dead.get() {
            let job = Job::Tell(grant::seal(self.0.0.client, extent, used));
            let _ = self.0.desk(primary).jobs.send(job);
        }
    }
}

/// A static cluster. Every second client makes lost links anew, as long as its session with the node stands.
impl Routes<SimFabric> for SimSpace {
    fn id(&self) -> ClientId {
        self.0.0.client
    }

    fn map(&self) -> Arc<ClusterMap> {
        self.0.0.cluster.map.clone()
    }

    fn newer_than(&self, _: Epoch) -> Waiting<()> {
        Box::pin(std::future::pending())
    }

    fn link(&self, node: NodeId) -> Linking<SimLink> {
        let desks = self.0.clone();
        let client = desks.0.client;
        Box::pin(async move {
            let cluster = &desks.0.cluster;
            if !client.0.is_multiple_of(2) {
                return Err(LinkError::Unreachable("its links are lost for good".into()));
            }
            travel(cluster, node).await;
            if !cluster.reach.has_session(client, node) || desks.0.is_dead.get() {
                return Err(LinkError::Unreachable("its session is over".into()));
            }
            let link = cluster.relink(client, node, &desks.0.fabric);
            travel(cluster, node).await;
            Ok((link, cluster.map.epoch))
        })
    }

    fn report(&self, _: NodeId, _: u64, _: String) -> Waiting<Decision> {
        Box::pin(std::future::ready(Decision::YourWay))
    }

    fn rename(&self, _: ClientId) -> Waiting<Result<(), String>> {
        panic!("nobody is evicted from a static cluster")
    }
}

impl Drop for SimSpace {
    fn drop(&mut self) {
        for desk in self.0.0.desks.iter().filter(|_| !self.0.0.is_dead.get()) {
            let _ = desk.jobs.send(Job::Tell(Request::Leave { client: self.0.0.client }));
            desk.jobs.close();
        }
    }
}

/// What `farrow-client`'s thread for one node does: one request after the other.
async fn work(session: Rc<Session>, jobs: Mailbox<Job>) {
    while let Some(job) = jobs.receive().await {
        match job {
            Job::Open { home, bytes, answer } => {
                let opened = open(&session, home, bytes).await;
                // Nobody waits any more: nothing will ever be written there.
                if let Err(Ok(unused)) = answer.send(opened) {
                    session.call(grant::seal(session.client, &unused, 0)).await;
                }
            }
            Job::Tell(request) => drop(session.call(request).await),
        }
    }
    session.inbox.close();
}

async fn open(session: &Session, home: HomeId, bytes: u64) -> Result<Extent, GrantError> {
    let client = session.client;
    match session.call(Request::OpenExtent { client, home, bytes }).await {
        Some(Reply::Extent(granted)) => Ok(grant::extent(client, home, &granted)),
        Some(Reply::Refused(refusal)) => Err(grant::refused(&refusal)),
        Some(other) => panic!("a node answered a request for an extent with {other:?}"),
        None => Err(GrantError::Unavailable("the session is over".into())),
    }
}
