//! What an agent works with: sessions with nodes, links to them, a coordinator.

use crate::service::Service;
use farrow_control::coordination::{Ask, Denial, Tell};
use farrow_control::map::{ClusterMap, HomeEntry, MemberEntry};
use farrow_control::message::{Refusal, Reply, Request};
use farrow_fabric::Link;
use farrow_layout::{ClientId, Epoch, NodeId};
use farrow_protocol::{Failure, Home, Member};
use farrow_transport::{
    AnyFabric, AnyLink, CallError, Caller, DialError, DialOptions, FabricOptions, Session,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Ids of clients that agents are: no coordinator hands them out.
const FIRST_AGENT: u32 = 0xfff0_0000;

/// Which of a node's two agents. They do not share links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Urgent,
    Background,
}

/// Sessions, links and a coordinator, for one thread.
pub(crate) struct Field {
    pub(crate) fabric: AnyFabric,
    service: Arc<Service>,
    caller: Caller,
    client: ClientId,
    dial: DialOptions,
    /// For each answer of a node.
    patience: Duration,
    sessions: BTreeMap<NodeId, Arc<Session>>,
    links: BTreeMap<NodeId, (AnyLink, Epoch)>,
}

/// Why an order did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// The coordinator has given the order to somebody else, or it is void.
    #[error("{0}")]
    Denied(Denial),
    #[error("{0}")]
    Coordinator(#[from] CallError),
    #[error("{0}")]
    Node(#[from] DialError),
    #[error("{0}")]
    Memory(#[from] Failure),
    #[error("{0}")]
    Other(String),
}

impl AgentError {
    /// Whether there is nothing left to do here.
    pub(crate) fn is_superseded(&self) -> bool {
        matches!(self, AgentError::Denied(Denial::NotYours(_)))
    }

    /// Whether others are at it, and it is worth asking again in a moment.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, AgentError::Denied(Denial::Busy))
    }
}

impl Field {
    /// # Errors
    /// In words: the RDMA device's.
    pub(crate) fn new(
        service: Arc<Service>,
        caller: Caller,
        dial: DialOptions,
        lease: Duration,
        role: Role,
    ) -> Result<Field, String> {
        let options = FabricOptions { rdma: Some(dial.rdma.clone()), ..FabricOptions::default() };
        let client = FIRST_AGENT + 2 * u32::from(service.node().0) + u32::from(role == Role::Background);
        Ok(Field {
            fabric: AnyFabric::new(&options)?,
            service,
            caller,
            client: ClientId(client),
            dial,
            // A fence waits for promises and for clients to come to rest.
            patience: lease * 2 + Duration::from_secs(3),
            sessions: BTreeMap::new(),
            links: BTreeMap::new(),
        })
    }

    /// The node whose agent this is.
    pub(crate) fn node(&self) -> NodeId {
        self.service.node()
    }

    /// The latest map that is known here.
    pub(crate) fn map(&self) -> Arc<ClusterMap> {
        self.service.latest()
    }

    /// Goes by a map that the coordinator told the agent before it told the node.
    pub(crate) fn adopt(&self, map: &ClusterMap) {
        if let Err(refusal) = self.service.adopt(map.clone()) {
            tracing::error!(%refusal, "the coordinator's map cannot be used");
        }
    }

    /// Asks the coordinator.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Result<Tell, AgentError> {
        match self.caller.call(ask)? {
            Tell::Denied(denial) => Err(AgentError::Denied(denial)),
            tell => Ok(tell),
        }
    }

    /// Dials nodes that are up ahead of need: when one is lost, every millisecond counts.
    pub(crate) fn meet_everybody(&mut self) {
        let map = self.map();
        self.sessions.retain(|node, _| map.node(*node).is_some_and(|entry| entry.is_up()));
        self.links.retain(|node, _| map.node(*node).is_some_and(|entry| entry.is_up()));
        for entry in map.nodes.iter().filter(|entry| entry.is_up()) {
            let _ = self.session(&map, entry.id);
        }
    }

    /// A session with a node; dialled if there is none.
    pub(crate) fn session(&mut self, map: &ClusterMap, node: NodeId) -> Result<Arc<Session>, AgentError> {
        if let Some(session) = self.sessions.get(&node) {
            return Ok(session.clone());
        }
        let entry = map.node(node).ok_or_else(|| AgentError::Other(format!("{node} is not in the map")))?;
        let session = Session::dial(&entry.address, &self.dial)?;
        if session.welcome().incarnation != entry.incarnation {
            return Err(AgentError::Other(format!("another life of memory answers for {node}")));
        }
        session.set_patience(self.patience);
        session.join(self.client)?;
        let session = Arc::new(session);
        self.sessions.insert(node, session.clone());
        self.links.remove(&node);
        Ok(session)
    }

    /// Asks a node. A session that breaks is dialled anew the next time.
    pub(crate) fn tell(
        &mut self,
        map: &ClusterMap,
        node: NodeId,
        request: &Request,
    ) -> Result<Reply, AgentError> {
        let answer = self.session(map, node)?.call(request);
        self.noting(node, answer)
    }

    /// Asks several nodes the same things at once, in order at each. The answers to the last of them.
    pub(crate) fn tell_all(
        &mut self,
        map: &ClusterMap,
        nodes: &[NodeId],
        requests: &[Request],
    ) -> Vec<Result<Reply, AgentError>> {
        let sessions: Vec<_> = nodes.iter().map(|node| self.session(map, *node)).collect();
        let ask = |session: &Session| {
            let mut last = Ok(Reply::Done);
            for request in requests {
                last = session.call(request);
                if last.is_err() {
                    break;
                }
            }
            last
        };
        let answers: Vec<Result<Result<Reply, DialError>, AgentError>> = thread::scope(|scope| {
            let asked: Vec<_> = sessions
                .iter()
                .map(|session| session.as_ref().ok().map(|session| scope.spawn(move || ask(session))))
                .collect();
            let answered = asked.into_iter().zip(&sessions).map(|(asked, session)| match asked {
                Some(asked) => Ok(asked.join().expect("asking does not panic")),
                None => Err(AgentError::Other(
                    session.as_ref().err().map(ToString::to_string).unwrap_or_default(),
                )),
            });
            answered.collect()
        });
        let noted = nodes.iter().zip(answers).map(|(node, answer)| self.noting(*node, answer?));
        noted.collect()
    }

    fn noting(&mut self, node: NodeId, answer: Result<Reply, DialError>) -> Result<Reply, AgentError> {
        let is_over = match &answer {
            Ok(_) => false,
            // Whoever restarts within the same life of memory does not know us any more.
            Err(DialError::Refused { refusal, .. }) => matches!(refusal, Refusal::NotJoined(_)),
            Err(_) => true,
        };
        if is_over {
            self.sessions.remove(&node);
            self.links.remove(&node);
        }
        Ok(answer?)
    }

    /// A link to a node that is up and of no earlier epoch than `epoch`.
    pub(crate) fn link(
        &mut self,
        map: &ClusterMap,
        node: NodeId,
        epoch: Epoch,
    ) -> Result<AnyLink, AgentError> {
        if let Some((link, of)) = self.links.get(&node)
            && link.is_up()
            && *of >= epoch
        {
            return Ok(link.clone());
        }
        self.links.remove(&node);
        let session = self.session(map, node)?;
        let linked = session.link(&self.fabric, self.client);
        let (link, of) = match linked {
            Ok(linked) => linked,
            Err(error) => {
                self.sessions.remove(&node);
                return Err(error.into());
            }
        };
        if of < epoch {
            return Err(AgentError::Other(format!("{node} gave a link of {of}, before {epoch}")));
        }
        self.links.insert(node, (link.clone(), of));
        Ok(link)
    }

    /// A replica of a home as this agent reaches it.
    pub(crate) fn member(
        &mut self,
        map: &ClusterMap,
        member: &MemberEntry,
        epoch: Epoch,
    ) -> Result<Member<AnyLink>, AgentError> {
        let plan = map.plan().map_err(|e| AgentError::Other(e.to_string()))?;
        let link = self.link(map, member.node, epoch)?;
        Ok(Member { link, segment: plan.segment(member.segment) })
    }

    /// A home as it stands in `map`.
    pub(crate) fn home(&mut self, map: &ClusterMap, home: &HomeEntry) -> Result<Home<AnyLink>, AgentError> {
        let members = home.members.iter().map(|member| self.member(map, member, home.epoch));
        let members: Vec<_> = members.collect::<Result<_, _>>()?;
        if members.is_empty() {
            return Err(AgentError::Other(format!("home {} has no member left", home.id)));
        }
        Ok(Home::new(home.id, members).of_epoch(home.epoch))
    }
}
