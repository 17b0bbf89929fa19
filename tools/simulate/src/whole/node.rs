//! A memory node: its memory in the world, and the control plane of the product in front of it.

use super::cluster::Cluster;
use super::mailbox::Mailbox;
use farrow_control::message::{Refusal, Reply, Request};
use farrow_fabric::Fabric;
use farrow_fabric_sim::World;
use farrow_layout::{HomeId, NodeId, RemoteAddr};
use farrow_node::{Ledger, OwnMemory, SessionId};
use std::time::Duration;

/// A node's memory, as its own daemon stores into it.
#[derive(Clone)]
pub(super) struct SimMemory {
    world: World,
    node: NodeId,
}

impl OwnMemory for SimMemory {
    fn store(&self, at: RemoteAddr, bytes: &[u8]) {
        self.world.poke(self.node, at, bytes);
    }

    fn store_word(&self, at: RemoteAddr, word: u64) {
        self.world.poke(self.node, at, &word.to_le_bytes());
    }

    fn load_word(&self, at: RemoteAddr) -> u64 {
        self.world.memory(self.node).word(at)
    }
}

impl SimMemory {
    pub(super) fn new(world: World, node: NodeId) -> SimMemory {
        SimMemory { world, node }
    }
}

/// One node of a cluster.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) ledger: Ledger<SimMemory>,
}

/// A request on its way to a node, and where the reply goes.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) reply: Mailbox<Reply>,
}

/// How fast a node's control plane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Each way of a message, in nanoseconds, at the most.
    pub way_ns: u64,
    /// The node whose control plane takes a hundred times as long.
    pub slow: Option<NodeId>,
}

/// Serves one session: what a daemon's thread for it does. Ends when the session does, and then takes back the links of
/// those who had joined on it.
pub(super) async fn serve(cluster: Cluster, node: NodeId, session: SessionId, inbox: Mailbox<Call>) {
    while let Some(call) = inbox.receive().await {
        travel(&cluster, node).await;
        // A dead node answers nobody, and nobody's session with it is ended by it.
        if !cluster.reach.is_alive(node) {
            return;
        }
        let reply = carry_out(&cluster, node, session, &call.request).unwrap_or_else(Reply::Refused);
        cluster.world.note(|| format!("{node}: {:?} -> {reply:?}", call.request));
        travel(&cluster, node).await;
        // Nobody may be there any more to hear it.
        let _ = call.reply.send(reply);
    }
    travel(&cluster, node).await;
    if cluster.reach.is_alive(node) {
        for (client, ()) in cluster.node(node).ledger.end(session) {
            cluster.take_back(client, node);
        }
    }
}

/// A message takes a while.
pub(super) async fn travel(cluster: &Cluster, node: NodeId) {
    let control = &cluster.control;
    let most = if control.slow == Some(node) { control.way_ns * 100 } else { control.way_ns };
    let wait = Duration::from_nanos(1 + cluster.world.draw(most + 1));
    cluster.daemons.sleep_until(cluster.daemons.now() + wait).await;
}

fn carry_out(
    cluster: &Cluster,
    node: NodeId,
    session: SessionId,
    request: &Request,
) -> Result<Reply, Refusal> {
    let ledger = &cluster.node(node).ledger;
    match request {
        Request::Leave { client } => {
            ledger.leave(*client, session)?;
            cluster.take_back(*client, node);
            Ok(Reply::Done)
        }
        Request::OpenExtent { client, home, bytes } => {
            let granted = ledger.open(*client, session, *home, *bytes);
            if let Err(Refusal::NoSpace { .. }) = &granted {
                cluster.reach.note_full(*client, *home);
            }
            let granted = granted?;
            let extents = granted.first..granted.first + u64::from(granted.count);
            cluster.shadow.note_grant(*client, *home, extents);
            show(cluster, node, *home);
            Ok(Reply::Extent(granted))
        }
        Request::SealExtent { client, home, grant, used } => {
            ledger.seal(*client, session, *home, grant, *used)?;
            show(cluster, node, *home);
            Ok(Reply::Done)
        }
        other => panic!("nobody asks a simulated node for {other:?}"),
    }
}

/// Tells the shadow memory whose extents are whose now.
fn show(cluster: &Cluster, node: NodeId, home: HomeId) {
    if let Some(words) = cluster.node(node).ledger.extent_words(home) {
        cluster.shadow.set_extents(home, words);
    }
}
