//! A process's connection to a cluster.

use crate::local::LocalClient;
use crate::worker::Worker;
use crate::{Options, handle::Client};
use farrow_control::map::ClusterMap;
use farrow_layout::{ClientId, GeometryError, Incarnation, NodeId, Plan, SuperblockError};
use farrow_transport::{AnyFabric, DialError, DialOptions, FabricOptions, Rdma, Session};
use std::sync::Arc;

/// A process's connection to a cluster: one session a node, shared by all of its clients. Cheap to clone; thread-safe.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    map: ClusterMap,
    plan: Plan,
    workers: Vec<Arc<Worker>>,
    rdma: Rdma,
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
    /// A node that calls itself otherwise than the map does.
    #[error("node {address} says that it is {said}, the map says {mapped}: is the same node listed twice?")]
    WrongNode {
        /// Address.
        address: String,
        /// By itself.
        said: NodeId,
        /// By the map.
        mapped: NodeId,
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
    /// Dials the cluster through any of `nodes`, and then all of its nodes. Blocks.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do. Every node of the map must answer: a home is written on all its members.
    pub fn connect(nodes: &[String], options: &DialOptions) -> Result<Cluster, ConnectError> {
        let first = first_to_answer(nodes, options)?;
        let map = first.welcome().map.clone();
        if let Some(why) = map.defect() {
            return Err(ConnectError::BadMap { address: first.address().to_owned(), why });
        }
        let plan = map.plan().map_err(|e: GeometryError| ConnectError::BadMap {
            address: first.address().to_owned(),
            why: e.to_string(),
        })?;
        let dial = |address: &String| Session::dial(address, options);
        // All at once: a dead node costs its time-out once, not in a row.
        let sessions: Vec<Result<Session, DialError>> = std::thread::scope(|scope| {
            let dials: Vec<_> = map.nodes.iter().map(|n| scope.spawn(|| dial(&n.address))).collect();
            dials.into_iter().map(|d| d.join().expect("dialling does not panic")).collect()
        });
        let mut workers = Vec::new();
        let mut failed = Vec::new();
        for (entry, session) in map.nodes.iter().zip(sessions) {
            let session = match session {
                Ok(session) => session,
                Err(e) => {
                    failed.push(e);
                    continue;
                }
            };
            if let Some(difference) = map.difference(&session.welcome().map) {
                let (one, other) = (first.address().to_owned(), session.address().to_owned());
                return Err(ConnectError::Different { one, other, difference });
            }
            if session.node() != entry.id {
                let (said, mapped) = (session.node(), entry.id);
                return Err(ConnectError::WrongNode { address: entry.address.clone(), said, mapped });
            }
            let worker = Worker::start(Arc::new(session)).map_err(|e| ConnectError::Local(e.to_string()))?;
            workers.push(Arc::new(worker));
        }
        match failed.len() {
            0 => Ok(Cluster(Arc::new(Inner { map, plan, workers, rdma: options.rdma.clone() }))),
            1 => Err(failed.pop().expect("there is one").into()),
            _ => Err(ConnectError::Several(failed)),
        }
    }

    /// The cluster map.
    pub fn map(&self) -> &ClusterMap {
        &self.0.map
    }

    /// Where everything lies in a node's memory.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// A fabric that reaches all nodes, for one thread.
    pub(crate) fn fabric(&self, options: &Options) -> Result<AnyFabric, String> {
        let by_rdma = self.0.workers.iter().any(|w| w.session().choice().transport == "rdma");
        AnyFabric::new(&FabricOptions {
            buffer_limit: options.buffer_limit,
            spin: options.spin,
            rdma: by_rdma.then(|| self.0.rdma.clone()),
            max_links: self.0.workers.len() as u32,
        })
    }

    pub(crate) fn workers(&self) -> &[Arc<Worker>] {
        &self.0.workers
    }

    /// The session with a node: for questions to its control plane.
    pub fn session(&self, node: NodeId) -> &Session {
        self.0.workers[usize::from(node.0)].session()
    }

    /// All nodes, and how they are reached.
    pub fn nodes(&self) -> Vec<NodeSummary> {
        let summary = |worker: &Arc<Worker>| {
            let session = worker.session();
            NodeSummary {
                node: session.node(),
                address: session.address().to_owned(),
                incarnation: session.welcome().incarnation,
                transport: session.choice().transport,
                reason: session.choice().reason.clone(),
                is_fallback: session.choice().is_fallback,
            }
        };
        self.0.workers.iter().map(summary).collect()
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
