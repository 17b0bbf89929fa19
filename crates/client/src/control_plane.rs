//! What one client's core needs of the cluster's control plane: the nodes' threads, and the coordinator's.

use crate::cluster::{Cluster, ConnectError};
use crate::desk::Named;
use crate::grant;
use crate::membership::{LinkError, Linking, Routes, Waiting};
use crate::space::{GrantError, Granting, Space};
use crate::worker::{ExtentWish, Leaving};
use farrow_control::coordination::Decision;
use farrow_control::map::ClusterMap;
use farrow_control::message::{Refusal, Request};
use farrow_fabric::{Chain, Fabric, Link};
use farrow_layout::{ClientId, Epoch, HomeId, NodeId, RemoteAddr, Superblock};
use farrow_protocol::Extent;
use farrow_transport::{AnyFabric, AnyLink, DialError, HalfLink, Session};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One client's way to the control planes of all nodes, and to the coordinator. Dropping it leaves the cluster.
pub struct ControlPlane(Rc<Inner>);

struct Inner {
    cluster: Cluster,
    fabric: AnyFabric,
    id: Cell<ClientId>,
    /// As the coordinator knows it, where there is one.
    named: Cell<Option<Named>>,
    /// Ids that this client had before.
    former: RefCell<Vec<ClientId>>,
    /// Extents that were granted under the present id and are not sealed.
    open: Cell<u64>,
    is_clean: Arc<AtomicBool>,
}

impl ControlPlane {
    /// Of a client of that id, which has joined nowhere yet.
    pub(crate) fn new(
        cluster: &Cluster,
        fabric: &AnyFabric,
        id: ClientId,
        named: Option<Named>,
    ) -> ControlPlane {
        ControlPlane(Rc::new(Inner {
            cluster: cluster.clone(),
            fabric: fabric.clone(),
            id: Cell::new(id),
            named: Cell::new(named),
            former: RefCell::default(),
            open: Cell::new(0),
            is_clean: Arc::new(AtomicBool::new(true)),
        }))
    }

    /// A link that was proved: both sides speak of the same memory.
    pub(crate) async fn reach(
        cluster: Cluster,
        fabric: AnyFabric,
        node: NodeId,
        client: ClientId,
        former: Vec<ClientId>,
    ) -> Result<(AnyLink, Epoch), ConnectError> {
        let gone = || ConnectError::Local(format!("the control thread of {node} has ended"));
        let worker = cluster.worker(node)?;
        let session = worker.reach(client, former).await.map_err(|_| gone())??;
        let refused = |why| DialError::Transport { address: session.address().to_owned(), why };
        let half = HalfLink::prepare(&fabric, session.choice().transport).map_err(refused)?;
        let offer = worker.offer(client, half.wish()).await.map_err(|_| gone())??;
        let linked = half.finish(&fabric, node, offer).map_err(|why| {
            worker.tell(Request::Unlink { client });
            refused(why)
        });
        let (link, epoch) = linked?;
        prove(&fabric, &link, &session, &cluster).await?;
        Ok((link, epoch))
    }
}

impl Space for ControlPlane {
    fn open(&self, primary: NodeId, home: HomeId, bytes: u64) -> Granting {
        let inner = self.0.clone();
        let client = inner.id.get();
        let over = |why: String| GrantError::Unavailable(why);
        let answer = match inner.cluster.worker(primary) {
            Ok(worker) => {
                let is_clean = inner.is_clean.clone();
                worker.open(ExtentWish { client, home, bytes, is_clean })
            }
            Err(error) => return Box::pin(std::future::ready(Err(over(error.to_string())))),
        };
        Box::pin(async move {
            let granted = answer.await;
            let granted =
                granted.unwrap_or_else(|_| Err(over("the node's control session has ended".into())))?;
            if inner.id.get() == client {
                inner.open.set(inner.open.get() + 1);
            }
            Ok(granted)
        })
    }

    fn seal(&self, primary: NodeId, extent: &Extent, used: u64) {
        let inner = &self.0;
        inner.open.set(inner.open.get().saturating_sub(1));
        match inner.cluster.worker(primary) {
            Ok(worker) => {
                worker.seal(grant::seal(inner.id.get(), extent, used), inner.is_clean.clone());
            }
            Err(_) => inner.is_clean.store(false, Ordering::Release),
        }
    }

    fn leaves_open(&self) {
        self.0.is_clean.store(false, Ordering::Release);
    }
}

impl Routes<AnyFabric> for ControlPlane {
    fn id(&self) -> ClientId {
        self.0.id.get()
    }

    fn map(&self) -> Arc<ClusterMap> {
        self.0.cluster.map()
    }

    fn newer_than(&self, epoch: Epoch) -> Waiting<()> {
        self.0.cluster.newer_than(epoch)
    }

    fn link(&self, node: NodeId) -> Linking<AnyLink> {
        let inner = &self.0;
        let (cluster, fabric, former) =
            (inner.cluster.clone(), inner.fabric.clone(), inner.former.borrow().clone());
        let client = inner.id.get();
        Box::pin(async move {
            let linked = ControlPlane::reach(cluster, fabric, node, client, former).await;
            linked.map_err(|error| match error {
                ConnectError::Dial(DialError::Refused { refusal: Refusal::Evicted(_), .. }) => {
                    LinkError::Evicted
                }
                other => LinkError::Unreachable(other.to_string()),
            })
        })
    }

    fn report(&self, node: NodeId, for_ns: u64, why: String) -> Waiting<Decision> {
        match self.0.cluster.desk() {
            None => Box::pin(std::future::ready(Decision::YourWay)),
            Some(desk) => {
                let answer = desk.report(node, for_ns, why);
                Box::pin(async move { answer.await.unwrap_or(Decision::Undecided) })
            }
        }
    }

    fn rename(&self, old: ClientId) -> Waiting<Result<(), String>> {
        let inner = self.0.clone();
        Box::pin(async move {
            if inner.id.get() != old {
                return Ok(());
            }
            let desk = inner.cluster.desk().ok_or("nobody hands out ids in a static cluster")?;
            let named = desk.new_client().await.map_err(|_| "the coordinator's thread has ended")??;
            tracing::warn!(%old, new = %named.client, "a client was taken for lost, and goes on under another id");
            inner.former.borrow_mut().push(old);
            inner.named.set(Some(named));
            inner.open.set(0);
            inner.id.set(named.client);
            Ok(())
        })
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let inner = &self.0;
        if inner.open.get() > 0 {
            inner.is_clean.store(false, Ordering::Release);
        }
        let leaving = inner.cluster.desk().zip(inner.named.get()).map(|(desk, named)| {
            Arc::new(Leaving { desk: desk.clone(), named, is_clean: inner.is_clean.clone() })
        });
        for worker in inner.cluster.workers() {
            worker.leave(inner.id.get(), leaving.clone());
        }
    }
}

/// Reads the superblock over a new link: that proves the path, and that both sides speak of the same memory.
async fn prove(
    fabric: &AnyFabric,
    link: &AnyLink,
    session: &Session,
    cluster: &Cluster,
) -> Result<(), ConnectError> {
    let address = || session.address().to_owned();
    let buffer = fabric.buffers().take(Superblock::LEN).map_err(|e| ConnectError::Local(e.to_string()))?;
    let read = link.post(Chain::new().read(RemoteAddr(0), buffer.whole()));
    read.await.map_err(|e| ConnectError::Proof { address: address(), why: e.to_string() })?;
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
