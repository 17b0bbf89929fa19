//! What a simulated node's agents work with.

use super::cluster::Cluster;
use super::life::{Life, NodeAsk, NodeTell};
use super::net::Party;
use super::scenario::Mark;
use super::session::{NotDone, Session};
use farrow_agent::{AgentError, Field};
use farrow_control::coordination::{Ask, Progress, Tell};
use farrow_control::map::ClusterMap;
use farrow_control::message::{Reply, Request};
use farrow_fabric::{Link, join_all};
use farrow_fabric_sim::{SimFabric, SimLink};
use farrow_layout::{ClientId, Epoch, NodeId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Sessions and links of one of a node's two agents.
pub(super) struct Ground {
    cluster: Rc<Cluster>,
    life: Rc<Life>,
    fabric: SimFabric,
    client: ClientId,
    sessions: RefCell<BTreeMap<NodeId, Rc<Session>>>,
    links: RefCell<BTreeMap<NodeId, (SimLink, Epoch)>>,
}

impl Ground {
    pub(super) fn new(cluster: &Rc<Cluster>, life: &Rc<Life>, fabric: &SimFabric, role: u32) -> Ground {
        Ground {
            cluster: cluster.clone(),
            life: life.clone(),
            fabric: fabric.clone(),
            client: ClientId(ClientId::FIRST_AGENT.0 + 2 * u32::from(life.node.0) + role),
            sessions: RefCell::default(),
            links: RefCell::default(),
        }
    }

    fn here(&self) -> Party {
        Party::Machine(self.life.machine)
    }

    fn patience(&self) -> Duration {
        Duration::from_nanos(3 * self.cluster.lease_ns())
    }

    async fn session(&self, map: &ClusterMap, node: NodeId) -> Result<Rc<Session>, AgentError> {
        let known = self.sessions.borrow().get(&node).cloned();
        if let Some(session) = known.filter(|session| !session.is_broken()) {
            return Ok(session);
        }
        self.forget(node);
        let entry = map.node(node).ok_or_else(|| AgentError::NotNow(format!("{node} is not in the map")))?;
        let brief = Duration::from_nanos(self.cluster.lease_ns() / 2);
        let session = Session::dial(&self.cluster, self.here(), entry, brief).await;
        let session = session.ok_or_else(|| AgentError::Node(format!("{node} does not answer")))?;
        session
            .call(Request::Join { client: self.client }, self.patience())
            .await
            .map_err(|e| said(node, &e))?;
        let session = Rc::new(session);
        self.sessions.borrow_mut().insert(node, session.clone());
        Ok(session)
    }

    /// What the agent is at from now on, for faults and for probes.
    fn begin(&self, what: &'static str) {
        self.life.doing.set(what);
        self.cluster.agent.set(Some(self.life.machine));
        self.cluster.mark(Mark::Agent);
    }

    fn forget(&self, node: NodeId) {
        self.sessions.borrow_mut().remove(&node);
        self.links.borrow_mut().remove(&node);
    }

    async fn tell_one(
        &self,
        map: &ClusterMap,
        node: NodeId,
        requests: &[Request],
    ) -> Result<Reply, AgentError> {
        let session = self.session(map, node).await?;
        let mut last = Reply::Done;
        for request in requests {
            last = session.call(request.clone(), self.patience()).await.map_err(|e| said(node, &e))?;
        }
        Ok(last)
    }
}

fn said(node: NodeId, why: &NotDone) -> AgentError {
    AgentError::Node(match why {
        NotDone::Refused(refusal) => format!("{node}: {refusal}"),
        NotDone::Silent => format!("{node} does not answer"),
    })
}

impl Field<SimFabric> for Ground {
    fn fabric(&self) -> &SimFabric {
        &self.fabric
    }

    fn node(&self) -> NodeId {
        self.life.node
    }

    fn map(&self) -> Arc<ClusterMap> {
        self.life.map()
    }

    fn adopt(&self, map: &ClusterMap) {
        self.life.adopt(map).expect("the coordinator's maps can be used");
    }

    fn note(&self, progress: Progress) {
        self.life.orders.note(progress);
    }

    async fn ask(&self, ask: &Ask) -> Result<Tell, AgentError> {
        let (what, then) = match ask {
            Ask::Close { .. } => ("close", "verbs"),
            Ask::Publish { .. } => ("publish", "nothing"),
            Ask::Completed { .. } => ("completed", "nothing"),
            other => panic!("an agent asks for {other:?}"),
        };
        self.begin(what);
        let told = self.cluster.ask(self.here(), ask.clone(), self.cluster.lease_ns()).await;
        self.begin(then);
        match told {
            None => Err(AgentError::Coordinator("no coordinator answers".into())),
            Some(Tell::Denied(denial)) => Err(denial.into()),
            Some(tell) => Ok(tell),
        }
    }

    async fn tell(
        &self,
        map: &ClusterMap,
        nodes: &[NodeId],
        requests: &[Request],
    ) -> Vec<Result<Reply, AgentError>> {
        self.begin(match requests.last() {
            Some(Request::Fence { .. }) => "fence",
            Some(Request::Prepare { .. }) => "prepare",
            Some(Request::Evict { .. }) => "evict",
            Some(Request::SealFor { .. }) => "seal",
            other => panic!("an agent tells nodes {other:?}"),
        });
        let asked = nodes.iter().map(|node| Box::pin(self.tell_one(map, *node, requests)));
        let told = join_all(asked.collect::<Vec<_>>()).await;
        self.begin("verbs");
        told
    }

    async fn link(
        &self,
        map: &ClusterMap,
        node: NodeId,
        epoch: Epoch,
    ) -> Result<(SimLink, Epoch), AgentError> {
        let known = self.links.borrow().get(&node).cloned();
        if let Some(made) = known.filter(|(link, of)| link.is_up() && *of >= epoch) {
            return Ok(made);
        }
        self.links.borrow_mut().remove(&node);
        self.begin("link");
        let session = self.session(map, node).await?;
        let asked = NodeAsk::Link(self.client, self.fabric.clone());
        let told = session.ask(asked, self.patience()).await;
        self.begin("verbs");
        match told {
            Ok(NodeTell::Link(link, of)) => {
                self.links.borrow_mut().insert(node, (link.clone(), of));
                Ok((link, of))
            }
            Ok(NodeTell::Plain(_)) => unreachable!("a link was asked for"),
            Err(why) => {
                self.forget(node);
                Err(said(node, &why))
            }
        }
    }
}
