//! The client of one thread.

use crate::cluster::Cluster;
use crate::grant;
use crate::membership::{LinkError, Linking, Routes, Waiting};
use crate::space::{GrantError, Granting, Space};
use crate::worker::Worker;
use crate::{ConnectError, Core, Options};
use farrow_control::coordination::Decision;
use farrow_control::map::ClusterMap;
use farrow_control::message::{Refusal, Request};
use farrow_fabric::{Chain, Fabric, Link, block_on, block_on_for};
use farrow_layout::{ClientId, Epoch, HomeId, NodeId, RemoteAddr, Superblock};
use farrow_protocol::Extent;
use farrow_transport::{AnyFabric, AnyLink, DialError};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The client of one thread: operations are those of [`Core`]. Cheap to clone within the thread.
#[derive(Clone)]
pub struct LocalClient {
    core: Core<AnyFabric, ControlPlane>,
    _leaving: Rc<Leaving>,
}

/// Lives as long as any clone of a [`LocalClient`]: what was gathered reaches the nodes before the links go.
struct Leaving(Core<AnyFabric, ControlPlane>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            block_on_for(self.0.fabric(), FAREWELL, self.0.tell_dead_bytes());
        }
    }
}

/// How long a client that leaves waits for nodes that may be gone.
const FAREWELL: Duration = Duration::from_millis(100);

/// Space from the nodes' control planes.
pub struct ControlPlane {
    client: ClientId,
    map: Arc<ClusterMap>,
    workers: Vec<Arc<Worker>>,
}

impl Space for ControlPlane {
    fn open(&self, primary: NodeId, home: HomeId, bytes: u64) -> Granting {
        let answer = self.workers[usize::from(primary.0)].open(self.client, home, bytes);
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| {
                Err(GrantError::Unavailable("the node's control session has ended".into()))
            })
        })
    }

    fn seal(&self, primary: NodeId, extent: &Extent, used: u64) {
        self.workers[usize::from(primary.0)].tell(grant::seal(self.client, extent, used));
    }
}

impl Routes<AnyFabric> for ControlPlane {
    fn id(&self) -> ClientId {
        self.client
    }

    fn map(&self) -> Arc<ClusterMap> {
        self.map.clone()
    }

    fn newer_than(&self, _: Epoch) -> Waiting<()> {
        Box::pin(std::future::pending())
    }

    fn link(&self, node: NodeId) -> Linking<AnyLink> {
        let why = format!("the session with {node} makes no second link");
        Box::pin(std::future::ready(Err(LinkError::Unreachable(why))))
    }

    fn report(&self, _: NodeId, _: String) -> Waiting<Decision> {
        Box::pin(std::future::ready(Decision::YourWay))
    }

    fn rename(&self, old: ClientId) -> Waiting<Result<(), String>> {
        Box::pin(std::future::ready(Err(format!("{old} was not given by a coordinator"))))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.tell(Request::Leave { client: self.client });
        }
    }
}

/// Ids to draw before giving up; a collision among 2^32 is rare, several in a row are a defect.
const ID_ATTEMPTS: u32 = 8;

impl LocalClient {
    pub(crate) fn join(cluster: &Cluster, options: &Options) -> Result<LocalClient, ConnectError> {
        let fabric = cluster.fabric(options).map_err(ConnectError::Local)?;
        let client = join_everywhere(cluster, &fabric)?;
        let mut links = Vec::new();
        for worker in cluster.workers() {
            let (link, epoch) = worker.session().link(&fabric, client)?;
            prove(&fabric, &link, worker, cluster)?;
            links.push((link, epoch));
        }
        let map = Arc::new(cluster.map().clone());
        let control = ControlPlane { client, map, workers: cluster.workers().to_vec() };
        let core = Core::new(fabric, control, *cluster.plan(), links, options.clone());
        for home in &cluster.map().homes {
            // With all links there it takes no time.
            block_on(core.fabric(), core.view(home.id)).map_err(|e| ConnectError::Local(e.to_string()))?;
        }
        let leaving = Rc::new(Leaving(core.clone()));
        Ok(LocalClient { core, _leaving: leaving })
    }

    /// Runs a future of this client to its end on this thread.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(self.core.fabric(), future)
    }
}

impl Deref for LocalClient {
    type Target = Core<AnyFabric, ControlPlane>;

    fn deref(&self) -> &Self::Target {
        &self.core
    }
}

fn join_everywhere(cluster: &Cluster, fabric: &AnyFabric) -> Result<ClientId, ConnectError> {
    let mut attempt = 0;
    'draw: loop {
        let client = Cluster::draw_id(fabric.random());
        for (i, worker) in cluster.workers().iter().enumerate() {
            match worker.session().join(client) {
                Ok(()) => {}
                Err(DialError::Refused { refusal: Refusal::ClientTaken(_), .. }) if attempt < ID_ATTEMPTS => {
                    attempt += 1;
                    cluster.workers()[..i].iter().for_each(|w| w.tell(Request::Leave { client }));
                    continue 'draw;
                }
                Err(e) => {
                    cluster.workers()[..i].iter().for_each(|w| w.tell(Request::Leave { client }));
                    return Err(e.into());
                }
            }
        }
        return Ok(client);
    }
}

/// Reads the superblock over a new link: that proves the path, and that both sides speak of the same memory.
fn prove(fabric: &AnyFabric, link: &AnyLink, worker: &Worker, cluster: &Cluster) -> Result<(), ConnectError> {
    let session = worker.session();
    let address = || session.address().to_owned();
    let buffer = fabric.buffers().take(Superblock::LEN).map_err(|e| ConnectError::Local(e.to_string()))?;
    let read = link.post(Chain::new().read(RemoteAddr(0), buffer.whole()));
    block_on(fabric, read).map_err(|e| ConnectError::Proof { address: address(), why: e.to_string() })?;
    let superblock = buffer
        .with(Superblock::open)
        .map_err(|source| ConnectError::Superblock { address: address(), source })?;
    let said = (session.welcome().incarnation.0, session.node().0, cluster.map().cluster_id());
    if (superblock.incarnation, superblock.node, superblock.cluster) != said {
        let why = format!("it is the memory of node {} of another cluster or another life", superblock.node);
        return Err(ConnectError::Proof { address: address(), why });
    }
    Ok(())
}
