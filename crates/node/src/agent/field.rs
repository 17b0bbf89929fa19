//! What this node's agents work with: sessions with nodes, links to them, a coordinator.

use super::tasks::Tasks;
use crate::service::Service;
use farrow_agent::{AgentError, Field};
use farrow_control::coordination::{Ask, Progress, Tell};
use farrow_control::map::ClusterMap;
use farrow_control::message::{Refusal, Reply, Request};
use farrow_fabric::Link;
use farrow_layout::{ClientId, Epoch, NodeId};
use farrow_transport::{
    AnyFabric, AnyLink, CallError, Caller, DialError, DialOptions, FabricOptions, Session,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Bytes that are brought near at once.
const NEAR_AT_ONCE: u64 = 2 << 20;

/// Which of a node's agents. They do not share links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Urgent,
    Background,
    Freeze,
    Near,
}

impl Role {
    const COUNT: u32 = 4;
}

/// Sessions, links and a coordinator, for one thread. Calls block.
pub(crate) struct Ground {
    fabric: AnyFabric,
    service: Arc<Service>,
    tasks: Arc<Tasks>,
    caller: RefCell<Caller>,
    client: ClientId,
    dial: DialOptions,
    /// For each answer of a node.
    patience: Duration,
    sessions: RefCell<BTreeMap<NodeId, Arc<Session>>>,
    links: RefCell<BTreeMap<NodeId, (AnyLink, Epoch)>>,
}

impl Ground {
    /// # Errors
    /// In words: the RDMA device's.
    pub(crate) fn new(
        service: Arc<Service>,
        tasks: Arc<Tasks>,
        caller: Caller,
        dial: DialOptions,
        lease: Duration,
        role: Role,
    ) -> Result<Ground, String> {
        let options = FabricOptions { rdma: Some(dial.rdma.clone()), ..FabricOptions::default() };
        let client = ClientId::FIRST_AGENT.0 + Role::COUNT * u32::from(service.node().0) + role as u32;
        Ok(Ground {
            fabric: AnyFabric::new(&options)?,
            service,
            tasks,
            caller: RefCell::new(caller),
            client: ClientId(client),
            dial,
            // A fence waits for promises and for clients to come to rest.
            patience: lease * 2 + Duration::from_secs(3),
            sessions: RefCell::default(),
            links: RefCell::default(),
        })
    }

    /// Lets go of nodes that are not there any more: as long as one process has a dead node's memory mapped, nobody else gets it.
    pub(crate) fn let_go(&self) {
        let map = self.service.latest();
        let is_up = |node: &NodeId| map.node(*node).is_some_and(|entry| entry.is_up());
        self.sessions.borrow_mut().retain(|node, _| is_up(node));
        self.links.borrow_mut().retain(|node, _| is_up(node));
    }

    /// Dials nodes that are up ahead of need: when one is lost, every millisecond counts.
    pub(crate) fn meet_everybody(&self) {
        let map = self.service.latest();
        for entry in map.nodes.iter().filter(|entry| entry.is_up()) {
            // Whoever does not answer now is dialled again when it is needed.
            let _ = self.session(&map, entry.id);
        }
    }

    /// Brings some of the memory of this host's other nodes near, ahead of need: see [`Session::bring_near`]. Says whether there is
    /// more.
    pub(crate) fn bring_near(&self) -> bool {
        let map = self.service.latest();
        let others = map.nodes.iter().filter(|entry| entry.is_up() && entry.id != self.service.node());
        others.into_iter().any(|entry| self.bring_near_of(&map, entry.id).unwrap_or(false))
    }

    fn bring_near_of(&self, map: &ClusterMap, node: NodeId) -> Result<bool, AgentError> {
        let session = self.session(map, node)?;
        if session.is_to_be_mapped() {
            self.link_to(map, node)?;
        }
        Ok(session.bring_near(NEAR_AT_ONCE).unwrap_or_else(|error| {
            tracing::warn!(%node, %error, "cannot bring a node's memory near: copies of it will be slower");
            false
        }))
    }

    /// A new link to a node, of whatever epoch it is of.
    fn link_to(&self, map: &ClusterMap, node: NodeId) -> Result<(AnyLink, Epoch), AgentError> {
        let session = self.session(map, node)?;
        let linked = session.link(&self.fabric, self.client).map_err(|error| {
            self.forget(node);
            said(&error)
        })?;
        self.links.borrow_mut().insert(node, linked.clone());
        Ok(linked)
    }

    /// A session with a node; dialled if there is none.
    fn session(&self, map: &ClusterMap, node: NodeId) -> Result<Arc<Session>, AgentError> {
        if let Some(session) = self.sessions.borrow().get(&node) {
            return Ok(session.clone());
        }
        let entry = map.node(node).ok_or_else(|| AgentError::NotNow(format!("{node} is not in the map")))?;
        let session = Session::dial(&entry.address, &self.dial).map_err(|e| said(&e))?;
        if session.welcome().incarnation != entry.incarnation {
            return Err(AgentError::Node(format!("another life of memory answers for {node}")));
        }
        session.set_patience(self.patience);
        session.join(self.client).map_err(|e| said(&e))?;
        let session = Arc::new(session);
        self.sessions.borrow_mut().insert(node, session.clone());
        self.links.borrow_mut().remove(&node);
        Ok(session)
    }

    fn noting(&self, node: NodeId, answer: Result<Reply, DialError>) -> Result<Reply, AgentError> {
        let is_over = match &answer {
            Ok(_) => false,
            Err(DialError::Refused { refusal, .. }) => matches!(refusal, Refusal::NotJoined(_)),
            Err(_) => true,
        };
        if is_over {
            self.forget(node);
        }
        answer.map_err(|e| said(&e))
    }

    fn forget(&self, node: NodeId) {
        self.sessions.borrow_mut().remove(&node);
        self.links.borrow_mut().remove(&node);
    }
}

fn said(error: &DialError) -> AgentError {
    AgentError::Node(error.to_string())
}

/// One request after the other; the answer to the last, or to the first that was not carried out.
fn ask_in_order(session: &Session, requests: &[Request]) -> Result<Reply, DialError> {
    let mut last = Reply::Done;
    for request in requests {
        last = session.call(request)?;
    }
    Ok(last)
}

impl Field<AnyFabric> for Ground {
    fn fabric(&self) -> &AnyFabric {
        &self.fabric
    }

    fn node(&self) -> NodeId {
        self.service.node()
    }

    fn map(&self) -> Arc<ClusterMap> {
        self.service.latest()
    }

    fn adopt(&self, map: &ClusterMap) {
        if let Err(refusal) = self.service.adopt(map.clone()) {
            tracing::error!(%refusal, "the coordinator's map cannot be used");
        }
    }

    fn note(&self, progress: Progress) {
        self.tasks.note(progress);
    }

    async fn ask(&self, ask: &Ask) -> Result<Tell, AgentError> {
        let told = self.caller.borrow_mut().call(ask, self.patience);
        told.map_err(|error| match error {
            CallError::Denied { denial, .. } => denial.into(),
            other => AgentError::Coordinator(other.to_string()),
        })
    }

    async fn tell(
        &self,
        map: &ClusterMap,
        nodes: &[NodeId],
        requests: &[Request],
    ) -> Vec<Result<Reply, AgentError>> {
        let sessions: Vec<_> = nodes.iter().map(|node| self.session(map, *node)).collect();
        // At once: a fence may take as long as a lease.
        let answers: Vec<Option<Result<Reply, DialError>>> = thread::scope(|scope| {
            let asked: Vec<_> = sessions
                .iter()
                .map(|session| {
                    let session = session.as_ref().ok()?;
                    Some(scope.spawn(move || ask_in_order(session, requests)))
                })
                .collect();
            let answers = asked
                .into_iter()
                .map(|asked| asked.map(|asked| asked.join().expect("asking does not panic")));
            answers.collect()
        });
        let answered = nodes.iter().zip(sessions).zip(answers);
        answered
            .map(|((node, session), answer)| match answer {
                Some(answer) => self.noting(*node, answer),
                None => Err(session.expect_err("it was asked otherwise")),
            })
            .collect()
    }

    async fn link(
        &self,
        map: &ClusterMap,
        node: NodeId,
        epoch: Epoch,
    ) -> Result<(AnyLink, Epoch), AgentError> {
        if let Some((link, of)) = self.links.borrow().get(&node)
            && link.is_up()
            && *of >= epoch
        {
            return Ok((link.clone(), *of));
        }
        self.links.borrow_mut().remove(&node);
        self.link_to(map, node)
    }
}
