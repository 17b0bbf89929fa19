//! The client of one thread.

use crate::cluster::Cluster;
use crate::control_plane::ControlPlane;
use crate::desk::Named;
use crate::{ConnectError, Core, Options};
use farrow_control::message::Refusal;
use farrow_fabric::{Fabric, block_on, block_on_for, join_all};
use farrow_layout::{ClientId, Epoch, NodeId};
use farrow_transport::{AnyFabric, AnyLink, DialError};
use std::ops::Deref;
use std::rc::Rc;
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

/// Ids to draw before giving up; a collision among 2^32 is rare, several in a row are a defect.
const ID_ATTEMPTS: u32 = 8;

type Links = Vec<(AnyLink, Epoch)>;

impl LocalClient {
    pub(crate) fn join(cluster: &Cluster, options: &Options) -> Result<LocalClient, ConnectError> {
        let fabric = cluster.fabric(options).map_err(ConnectError::Local)?;
        let (client, named, links) = match cluster.desk() {
            None => draw_and_link(cluster, &fabric)?,
            Some(desk) => {
                let gone = || ConnectError::Local("the coordinator's thread has ended".into());
                let named = block_on(&fabric, desk.new_client()).map_err(|_| gone())?;
                let named = named.map_err(ConnectError::Coordinator)?;
                let (links, failed) = link_all(cluster, &fabric, named.client);
                // Their homes have other members, or soon will.
                for (node, error) in &failed {
                    tracing::warn!(%node, %error, "a node cannot be linked: the client begins without it");
                }
                match failed.into_iter().next() {
                    Some((_, error)) if links.is_empty() => return Err(error),
                    _ => (named.client, Some(named), links),
                }
            }
        };
        let linked: Vec<NodeId> = links.iter().map(|(link, _)| farrow_fabric::Link::node(link)).collect();
        let control = ControlPlane::new(cluster, &fabric, client, named);
        let core = Core::new(fabric, control, *cluster.plan(), links, options.clone());
        let map = cluster.map();
        let is_linked = |home: &&farrow_control::map::HomeEntry| {
            home.is_open && home.members.iter().all(|member| linked.contains(&member.node))
        };
        for home in map.homes.iter().filter(is_linked) {
            // With all links there it takes no time; where a node was fenced meanwhile, the first operation sees to it.
            if map.is_static() {
                block_on(core.fabric(), core.view(home.id))
                    .map_err(|e| ConnectError::Local(e.to_string()))?;
            } else {
                block_on_for(core.fabric(), FAREWELL, core.view(home.id));
            }
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

/// In a static cluster: an id that is free everywhere, and links to all nodes.
fn draw_and_link(
    cluster: &Cluster,
    fabric: &AnyFabric,
) -> Result<(ClientId, Option<Named>, Links), ConnectError> {
    let mut attempt = 0;
    loop {
        let client = Cluster::draw_id(fabric.random());
        let (links, failed) = link_all(cluster, fabric, client);
        let Some((_, error)) = failed.into_iter().next() else { return Ok((client, None, links)) };
        drop(links);
        cluster.workers().iter().for_each(|worker| worker.leave(client, None));
        let is_taken =
            matches!(error, ConnectError::Dial(DialError::Refused { refusal: Refusal::ClientTaken(_), .. }));
        attempt += 1;
        if !is_taken || attempt > ID_ATTEMPTS {
            return Err(error);
        }
    }
}

/// Links to all nodes that are up, and why there is none to the others.
fn link_all(cluster: &Cluster, fabric: &AnyFabric, client: ClientId) -> (Links, Vec<(NodeId, ConnectError)>) {
    let map = cluster.map();
    let up = map.nodes.iter().filter(|node| node.is_up());
    let linking = up.map(|node| {
        let linked = ControlPlane::reach(cluster.clone(), fabric.clone(), node.id, client, Vec::new());
        Box::pin(async { (node.id, linked.await) })
    });
    let (mut links, mut failed) = (Vec::new(), Vec::new());
    for (node, linked) in block_on(fabric, join_all(linking.collect::<Vec<_>>())) {
        match linked {
            Ok(link) => links.push(link),
            Err(error) => failed.push((node, error)),
        }
    }
    (links, failed)
}
