//! A process's connection to a cluster.

use crate::bulletin::Bulletin;
use crate::desk::{Desk, Process, Watch, first_map};
use crate::local::LocalClient;
use crate::membership::Waiting;
use crate::worker::Worker;
use crate::{Options, handle::Client};
use farrow_control::map::ClusterMap;
use farrow_layout::{ClientId, Epoch, GeometryError, Incarnation, NodeId, Plan, SuperblockError};
use farrow_transport::{AnyFabric, Caller, DialError, DialOptions, FabricOptions, Session};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Links beyond two a node: for nodes that come later.
const SPARE_LINKS: u32 = 8;

/// A process's connection to a cluster: one session a node, shared by all of its clients. Cheap to clone; thread-safe.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    bulletin: Arc<Bulletin>,
    plan: Plan,
    dial: DialOptions,
    /// One a node, made when it is needed.
    workers: Mutex<BTreeMap<NodeId, Arc<Worker>>>,
    coordinated: Option<Coordinated>,
}

/// What there is in a coordinated cluster alone.
struct Coordinated {
    desk: Arc<Desk>,
    _watch: Watch,
}

/// Why a cluster could not be joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address was given.
    #[error(
        "no node is known: set cluster.nodes (--cluster-nodes, FARROW_CLUSTER_NODES) to host:port, or try `farrow demo`"
    )]
    NoNodes,
    /// No coordinator handed out what was needed.
    #[error("{0}")]
    Coordinator(String),
    /// A node could not be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Several could not.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<DialError>),
    /// Two nodes do not belong together.
    #[error("node {one} and node {other} do not belong to one cluster: {difference}")]
    Different {
        /// Address.
        one: String,
        /// Address.
        other: String,
        /// In words.
        difference: String,
    },
    /// A map that makes no sense.
    #[error("node {address} sent a cluster map that cannot be used: {why}")]
    BadMap {
        /// Address.
        address: String,
        /// In words.
        why: String,
    },
    /// The path to a node's memory was tried, and failed.
    #[error("node {address}: the link was made, but reading the node's memory failed: {why}")]
    Proof {
        /// Address.
        address: String,
        /// In words.
        why: String,
    },
    /// A node's memory is not what the node says.
    #[error("node {address}: {source}")]
    Superblock {
        /// Address.
        address: String,
        /// What is wrong.
        #[source]
        source: SuperblockError,
    },
    /// No local memory, or no thread.
    #[error("{0}")]
    Local(String),
}

/// One node, as `status` shows it.
#[derive(Clone, Debug)]
pub struct NodeSummary {
    /// The node.
    pub node: NodeId,
    /// Its control address.
    pub address: String,
    /// This life of its memory.
    pub incarnation: Incarnation,
    /// `shm` or `rdma`.
    pub transport: &'static str,
    /// Why that one.
    pub reason: String,
    /// Whether something else was preferred.
    pub is_fallback: bool,
}

impl Cluster {
    /// As [`Cluster::connect_through`], without knowing of any coordinator: the nodes do, if there are any.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(nodes: &[String], options: &DialOptions) -> Result<Cluster, ConnectError> {
        Cluster::connect_through(&[], nodes, options)
    }

    /// Dials the cluster through any of `coordinators`, or else any of `nodes`, and then all of its nodes. Blocks.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do. In a static cluster every node of the map must answer: a home is written on
    /// all its members. In a coordinated one those that do not are left out until they are needed.
    pub fn connect_through(
        coordinators: &[String],
        nodes: &[String],
        options: &DialOptions,
    ) -> Result<Cluster, ConnectError> {
        let process = Arc::new(Process::draw());
        let caller = |coordinators: &[String]| {
            Caller::new(coordinators.to_vec(), options.secret.clone(), &options.who)
        };
        let mut told = None;
        if !coordinators.is_empty() {
            match first_map(&mut caller(coordinators), &process, &options.who) {
                Ok(map) => told = Some((coordinators[0].clone(), map)),
                Err(why) if nodes.is_empty() => return Err(ConnectError::Coordinator(why)),
                Err(why) => tracing::warn!(why, "no coordinator answers: nodes are asked for the map"),
            }
        }
        let (address, map) = match told {
            Some(told) => told,
            None => {
                let first = first_to_answer(nodes, options)?;
                (first.address().to_owned(), first.welcome().map.clone())
            }
        };
        let bad = |why| ConnectError::BadMap { address: address.clone(), why };
        if let Some(why) = map.defect() {
            return Err(bad(why));
        }
        let plan = map.plan().map_err(|e: GeometryError| bad(e.to_string()))?;
        let known = map.coordinators.clone();
        let bulletin = Bulletin::new(map);
        let local = |e: std::io::Error| ConnectError::Local(e.to_string());
        let coordinated = match known.as_slice() {
            [] => None,
            known => {
                let (b, p) = (bulletin.clone(), process.clone());
                let watch =
                    Watch::start(caller(known), p.clone(), b.clone(), options.clone()).map_err(local)?;
                let desk = Arc::new(Desk::open(caller(known), p, b).map_err(local)?);
                Some(Coordinated { desk, _watch: watch })
            }
        };
        let is_static = coordinated.is_none();
        let cluster = Cluster(Arc::new(Inner {
            bulletin,
            plan,
            dial: options.clone(),
            workers: Mutex::default(),
            coordinated,
        }));
        cluster.dial_all(&address, is_static)?;
        Ok(cluster)
    }

    /// Dials all nodes that are up, all at once: a dead node costs its time-out once, not in a row.
    fn dial_all(&self, told_by: &str, must_all_answer: bool) -> Result<(), ConnectError> {
        let map = self.map();
        let mut dialled = Vec::new();
        for node in map.nodes.iter().filter(|node| node.is_up()) {
            dialled.push((node, self.worker(node.id)?.dial()));
        }
        let (mut failed, mut reached) = (Vec::new(), 0);
        for (entry, waiting) in dialled {
            let gone = |_| ConnectError::Local(format!("the control thread of {} has ended", entry.id));
            let session = match waiting.recv().map_err(gone)? {
                Ok(session) => session,
                Err(error) => {
                    failed.push(error);
                    continue;
                }
            };
            reached += 1;
            if let Some(difference) = map.difference(&session.welcome().map) {
                let (one, other) = (told_by.to_owned(), session.address().to_owned());
                return Err(ConnectError::Different { one, other, difference });
            }
        }
        if !must_all_answer && reached > 0 {
            failed.drain(..).for_each(|error| tracing::warn!(%error, "a node does not answer"));
        }
        match failed.len() {
            0 => Ok(()),
            1 => Err(failed.pop().expect("there is one").into()),
            _ => Err(ConnectError::Several(failed)),
        }
    }

    /// The latest cluster map that this process knows.
    pub fn map(&self) -> Arc<ClusterMap> {
        self.0.bulletin.map()
    }

    /// Ends when a map later than `epoch` is known; never in a static cluster.
    pub(crate) fn newer_than(&self, epoch: Epoch) -> Waiting<()> {
        if self.0.coordinated.is_none() {
            return Box::pin(std::future::pending());
        }
        Box::pin(self.0.bulletin.newer_than(epoch))
    }

    pub(crate) fn desk(&self) -> Option<&Arc<Desk>> {
        self.0.coordinated.as_ref().map(|coordinated| &coordinated.desk)
    }

    /// Where everything lies in a node's memory.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// A fabric that reaches all nodes, for one thread.
    pub(crate) fn fabric(&self, options: &Options) -> Result<AnyFabric, String> {
        let workers = self.workers();
        let sessions = workers.iter().filter_map(|worker| worker.session());
        let by_rdma = sessions.filter(|session| session.choice().transport == "rdma").count() > 0;
        AnyFabric::new(&FabricOptions {
            buffer_limit: options.buffer_limit,
            spin: options.spin,
            rdma: by_rdma.then(|| self.0.dial.rdma.clone()),
            // A link that is made anew is there before the old one is gone.
            max_links: 2 * workers.len() as u32 + SPARE_LINKS,
        })
    }

    /// The threads of all nodes that were ever needed.
    pub(crate) fn workers(&self) -> Vec<Arc<Worker>> {
        self.lock_workers().values().cloned().collect()
    }

    fn lock_workers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Worker>>> {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread that talks to a node.
    pub(crate) fn worker(&self, node: NodeId) -> Result<Arc<Worker>, ConnectError> {
        if let Some(worker) = self.lock_workers().get(&node) {
            return Ok(worker.clone());
        }
        let map = self.map();
        let entry = map.node(node).filter(|entry| entry.is_up());
        let entry = entry.ok_or_else(|| ConnectError::Local(format!("{node} is not in the cluster")))?;
        let incarnation = (!map.is_static()).then_some(entry.incarnation);
        let mut workers = self.lock_workers();
        if let Some(worker) = workers.get(&node) {
            return Ok(worker.clone());
        }
        let worker = Worker::start(node, &entry.address, incarnation, &self.0.dial, &self.0.bulletin)
            .map_err(|e| ConnectError::Local(e.to_string()))?;
        let worker = Arc::new(worker);
        workers.insert(node, worker.clone());
        Ok(worker)
    }

    /// A session with a node: for questions to its control plane. Dials it if there is none. Blocks.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn session(&self, node: NodeId) -> Result<Arc<Session>, ConnectError> {
        let gone = |_| ConnectError::Local(format!("the control thread of {node} has ended"));
        Ok(self.worker(node)?.dial().recv().map_err(gone)??)
    }

    /// All nodes that are up and were reached, and how.
    pub fn nodes(&self) -> Vec<NodeSummary> {
        let map = self.map();
        let summary = |worker: &Arc<Worker>| {
            let session = worker.session()?;
            map.node(session.node()).filter(|entry| entry.is_up())?;
            Some(NodeSummary {
                node: session.node(),
                address: session.address().to_owned(),
                incarnation: session.welcome().incarnation,
                transport: session.choice().transport,
                reason: session.choice().reason.clone(),
                is_fallback: session.choice().is_fallback,
            })
        };
        self.workers().iter().filter_map(summary).collect()
    }

    /// A client for this thread. Blocks while links are made and proved.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn local_client(&self, options: &Options) -> Result<LocalClient, ConnectError> {
        LocalClient::join(self, options)
    }

    /// A client for any thread, with owner threads of its own.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn client(&self, options: &Options) -> Result<Client, ConnectError> {
        Client::start(self, options)
    }

    /// A client id that nobody else is likely to have drawn.
    pub(crate) fn draw_id(random: u64) -> ClientId {
        ClientId(((random >> 32) as u32).max(1))
    }
}

fn first_to_answer(nodes: &[String], options: &DialOptions) -> Result<Session, ConnectError> {
    let mut failed = Vec::new();
    for address in nodes {
        match Session::dial_control(address, options) {
            Ok(session) => return Ok(session),
            Err(e) => failed.push(e),
        }
    }
    Err(match failed.len() {
        0 => ConnectError::NoNodes,
        1 => failed.pop().expect("there is one").into(),
        _ => ConnectError::Several(failed),
    })
}
