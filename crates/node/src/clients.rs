//! Who has joined.

use farrow_control::message::{ClientStats, Refusal};
use farrow_fabric_shm::ShmGrant;
use farrow_layout::{ClientId, Epoch};
use farrow_mutant::{self as mutant, Mutant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Agents of other nodes that a node serves besides its clients: four of each of 128. Without them nothing is restored, so
/// clients never take their places.
pub(crate) const MOST_AGENTS: u32 = 512;

/// A connection; never used again in the life of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Who speaks on a session, as it says.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// Program and purpose.
    pub name: String,
    /// Process id.
    pub pid: u32,
}

/// A client's one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    #[default]
    None,
    Shm(ShmGrant),
    Rdma(Epoch),
}

/// All clients that have joined, by their ids. `L` is what is kept of a client's link.
#[derive(Debug)]
pub(crate) struct Clients<L = Link> {
    max: u32,
    joined: BTreeMap<ClientId, Client<L>>,
    evicted: BTreeSet<ClientId>,
}

#[derive(Debug)]
struct Client<L> {
    session: SessionId,
    who: Arc<Who>,
    link: L,
}

impl<L: Copy + Default> Clients<L> {
    pub(crate) fn new(max: u32) -> Clients<L> {
        Clients { max, joined: BTreeMap::new(), evicted: BTreeSet::new() }
    }

    /// # Errors
    /// The id is taken, by this session or another; there are too many; 0 is nobody.
    pub(crate) fn join(
        &mut self,
        client: ClientId,
        session: SessionId,
        who: &Arc<Who>,
    ) -> Result<(), Refusal> {
        if client == ClientId(0) {
            return Err(Refusal::Bad("client id 0 means nobody: draw another".into()));
        }
        if self.is_refused(client) {
            return Err(Refusal::Evicted(client));
        }
        if self.joined.contains_key(&client) {
            return Err(Refusal::ClientTaken(client));
        }
        let max = if client.is_agent() { MOST_AGENTS } else { self.max };
        if self.joined.keys().filter(|joined| joined.is_agent() == client.is_agent()).count() >= max as usize
        {
            return Err(Refusal::TooManyClients(max));
        }
        self.joined.insert(client, Client { session, who: who.clone(), link: L::default() });
        Ok(())
    }

    /// Forgets a client; its link is the caller's to take back.
    ///
    /// # Errors
    /// It has not joined on this session.
    pub(crate) fn leave(&mut self, client: ClientId, session: SessionId) -> Result<L, Refusal> {
        self.of(client, session)?;
        let left = self.joined.remove(&client).expect("just found");
        Ok(left.link)
    }

    /// Forgets a client, whoever's it is, and refuses its id from now on; its link is the caller's to take back.
    pub(crate) fn evict(&mut self, client: ClientId) -> Option<L> {
        self.evicted.insert(client);
        Some(self.joined.remove(&client)?.link)
    }

    /// Whether a client was evicted.
    pub(crate) fn is_evicted(&self, client: ClientId) -> bool {
        self.evicted.contains(&client)
    }

    /// Forgets all clients of a session that has ended; their links are the caller's to take back.
    pub(crate) fn leave_all(&mut self, session: SessionId) -> Vec<(ClientId, L)> {
        let mut left = Vec::new();
        self.joined.retain(|id, client| {
            let stays = client.session != session;
            if !stays {
                left.push((*id, client.link));
            }
            stays
        });
        left
    }

    /// # Errors
    /// The client has not joined on this session.
    pub(crate) fn check(&self, client: ClientId, session: SessionId) -> Result<(), Refusal> {
        let found = self.joined.get(&client).filter(|found| found.session == session);
        found.map(|_| ()).ok_or_else(|| self.unknown(client))
    }

    /// Gives a client another link, or none; the one it had is the caller's to take back.
    ///
    /// # Errors
    /// It has not joined on this session.
    pub(crate) fn set_link(&mut self, client: ClientId, session: SessionId, link: L) -> Result<L, Refusal> {
        Ok(std::mem::replace(&mut self.of(client, session)?.link, link))
    }

    pub(crate) fn is_joined(&self, client: ClientId) -> bool {
        self.joined.contains_key(&client)
    }

    fn of(&mut self, client: ClientId, session: SessionId) -> Result<&mut Client<L>, Refusal> {
        let unknown = self.unknown(client);
        let found = self.joined.get_mut(&client).filter(|found| found.session == session);
        found.ok_or(unknown)
    }

    fn unknown(&self, client: ClientId) -> Refusal {
        if self.is_refused(client) { Refusal::Evicted(client) } else { Refusal::NotJoined(client) }
    }

    fn is_refused(&self, client: ClientId) -> bool {
        self.is_evicted(client) && !mutant::is(Mutant::ReusedIdentity)
    }
}

impl Clients<Link> {
    /// For `status`; links of epochs before `epoch` are broken and not shown.
    pub(crate) fn stats(&self, epoch: Epoch) -> Vec<ClientStats> {
        let of = |(id, client): (&ClientId, &Client<Link>)| ClientStats {
            client: *id,
            who: client.who.name.clone(),
            pid: client.who.pid,
            transport: match client.link {
                Link::Shm(grant) if grant.epoch >= epoch.0 => "shm".into(),
                Link::Rdma(of) if of >= epoch => "rdma".into(),
                _ => String::new(),
            },
        };
        self.joined.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: SessionId = SessionId(1);
    const THERE: SessionId = SessionId(2);

    #[test]
    fn a_client_belongs_to_the_session_it_joined_on() {
        let mut it = Clients::new(8);
        let who = Arc::new(Who { name: "bench".into(), pid: 9 });
        it.join(ClientId(1), HERE, &who).unwrap();
        it.join(ClientId(2), THERE, &who).unwrap();
        assert_eq!(it.join(ClientId(1), THERE, &who), Err(Refusal::ClientTaken(ClientId(1))));
        assert_eq!(it.leave(ClientId(1), THERE), Err(Refusal::NotJoined(ClientId(1))));
        assert_eq!(it.check(ClientId(1), THERE), Err(Refusal::NotJoined(ClientId(1))));
        let grant = ShmGrant { link: 3, key: 4, epoch: 5 };
        assert_eq!(it.set_link(ClientId(1), HERE, Link::Shm(grant)), Ok(Link::None));
        assert_eq!(it.stats(Epoch(5))[0].transport, "shm");
        assert_eq!(it.stats(Epoch(6))[0].transport, "", "a fenced link is none");
        assert_eq!(it.leave_all(HERE), [(ClientId(1), Link::Shm(grant))]);
        assert!(!it.is_joined(ClientId(1)) && it.is_joined(ClientId(2)));
    }

    #[test]
    fn who_was_evicted_does_not_come_back() {
        let mut it = Clients::new(8);
        it.join(ClientId(1), HERE, &Arc::default()).unwrap();
        assert_eq!(it.evict(ClientId(1)), Some(Link::None));
        assert_eq!(it.evict(ClientId(2)), None, "it was not here");
        for id in [1, 2].map(ClientId) {
            assert_eq!(it.join(id, HERE, &Arc::default()), Err(Refusal::Evicted(id)));
            assert_eq!(it.check(id, HERE), Err(Refusal::Evicted(id)));
        }
    }

    #[test]
    fn nobody_and_too_many_are_refused() {
        let mut it: Clients = Clients::new(1);
        assert!(matches!(it.join(ClientId(0), HERE, &Arc::default()), Err(Refusal::Bad(_))));
        it.join(ClientId(1), HERE, &Arc::default()).unwrap();
        assert_eq!(it.join(ClientId(2), HERE, &Arc::default()), Err(Refusal::TooManyClients(1)));
        it.join(ClientId::FIRST_AGENT, HERE, &Arc::default()).expect("agents have places of their own");
        it.leave(ClientId(1), HERE).unwrap();
        it.join(ClientId(2), HERE, &Arc::default()).expect("and take nobody's");
    }
}
