//! Who has joined a node, and which extents they were given.

use crate::OwnMemory;
use crate::clients::{Clients, SessionId, Who};
use crate::extents::{Extents, Usage};
use crate::format::hosted;
use farrow_control::map::ClusterMap;
use farrow_control::message::{ExtentGrant, OpenGrant, Refusal};
use farrow_layout::{ClientId, ExtentWord, HomeId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

/// What a node decides about clients and space, without the sockets and the links (`L` is what it keeps of a client's link):
/// the daemon has one over mapped memory, the simulator one for each of its nodes. Thread-safe where `M` is.
#[derive(Debug)]
pub struct Ledger<M, L = ()> {
    node: NodeId,
    clients: Mutex<Clients<L>>,
    memory: M,
    /// The homes of which this node is the primary, and which of them are open.
    homes: RwLock<BTreeMap<HomeId, Primary<M>>>,
}

/// A home of which this node is the primary.
#[derive(Debug)]
struct Primary<M> {
    segment: u32,
    /// While it is closed, its table is an agent's: nothing is granted and nothing sealed.
    is_open: bool,
    extents: Mutex<Extents<M>>,
}

impl<M: OwnMemory + Clone, L: Copy + Default> Ledger<M, L> {
    /// Nobody has joined, all extents are free. `memory` is formatted, its tables of extents are zero.
    ///
    /// # Panics
    /// If the map's geometry cannot be laid out.
    pub fn new(map: &ClusterMap, node: NodeId, max_clients: u32, memory: &M) -> Ledger<M, L> {
        let plan = map.plan().expect("a map in use has a geometry that can be laid out");
        let primary = hosted(map, node).into_iter().filter(|hosted| hosted.rank == 0);
        let homes = primary.map(|hosted| {
            let extents = Extents::new(hosted.home, plan.segment(hosted.segment), memory.clone());
            let extents = Mutex::new(extents);
            (hosted.home, Primary { segment: hosted.segment, is_open: true, extents })
        });
        let homes = RwLock::new(homes.collect());
        Ledger { node, memory: memory.clone(), homes, clients: Mutex::new(Clients::new(max_clients)) }
    }

    /// A later map: homes open and close; of those of which this node has become the primary, the extents are what the table
    /// in its memory says, which was made alike on all members before the home opened.
    pub fn adopt(&self, map: &ClusterMap) {
        let plan = map.plan().expect("a map in use has a geometry that can be laid out");
        let mut homes = self.homes.write().expect("no thread panicked while it changed homes");
        let primary: BTreeMap<_, _> = hosted(map, self.node)
            .into_iter()
            .filter(|hosted| hosted.rank == 0)
            .map(|hosted| (hosted.home, hosted.segment))
            .collect();
        homes.retain(|home, of| primary.get(home) == Some(&of.segment));
        for (home, segment) in primary {
            let is_open = map.homes[usize::from(home.0)].is_open;
            match homes.get_mut(&home) {
                Some(of) => of.is_open = is_open,
                // Until it opens its table may still change.
                None if !is_open => {}
                None => {
                    let extents = Extents::adopt(home, plan.segment(segment), self.memory.clone());
                    homes.insert(home, Primary { segment, is_open, extents: Mutex::new(extents) });
                }
            }
        }
    }

    /// Grants and seals nothing more, in any home, until a later map is adopted: the node was fenced.
    pub fn close_all(&self) {
        let mut homes = self.homes.write().expect("no thread panicked while it changed homes");
        homes.values_mut().for_each(|of| of.is_open = false);
    }

    /// A client is lost: it is forgotten, and its id refused from now on. Its link, which is the caller's to take back, and
    /// what it has open here.
    pub fn evict(&self, client: ClientId) -> (Option<L>, Vec<OpenGrant>) {
        let link = self.clients().evict(client);
        let homes = self.homes();
        let open = homes.iter().flat_map(|(home, of)| {
            let open = lock(&of.extents).open_of(client);
            open.into_iter().map(|grant| OpenGrant { home: *home, grant })
        });
        (link, open.collect())
    }

    /// As [`Ledger::seal`], for a client that was evicted.
    ///
    /// # Errors
    /// It was not; the node is not the home's primary, the home is closed, or the grant is none of the client's.
    pub fn seal_for(
        &self,
        client: ClientId,
        home: HomeId,
        grant: &ExtentGrant,
        used: u64,
    ) -> Result<(), Refusal> {
        if !self.clients().is_evicted(client) {
            return Err(Refusal::Bad(format!("client {client} was not evicted: it seals for itself")));
        }
        self.in_extents(home, |extents| extents.seal(client, grant, used))
    }

    /// A client joins on `session`.
    ///
    /// # Errors
    /// Its id is taken, by this session or another; there are too many clients; 0 is nobody.
    pub fn join(&self, client: ClientId, session: SessionId, who: &Arc<Who>) -> Result<(), Refusal> {
        self.clients().join(client, session, who)
    }

    /// A client leaves; its link, which is the caller's to take back. Extents that it has open stay its own.
    ///
    /// # Errors
    /// It has not joined on this session.
    pub fn leave(&self, client: ClientId, session: SessionId) -> Result<L, Refusal> {
        self.clients().leave(client, session)
    }

    /// A session has ended: all of its clients have left. Their links are the caller's to take back; their open extents
    /// stay theirs, for whoever recovers them.
    pub fn end(&self, session: SessionId) -> Vec<(ClientId, L)> {
        self.clients().leave_all(session)
    }

    /// Gives `client` the fewest extents of `home` that hold `bytes`.
    ///
    /// # Errors
    /// The client has not joined on this session, the node is not the home's primary, or there is no room.
    pub fn open(
        &self,
        client: ClientId,
        session: SessionId,
        home: HomeId,
        bytes: u64,
    ) -> Result<ExtentGrant, Refusal> {
        self.clients().check(client, session)?;
        self.in_extents(home, |extents| extents.open(client, bytes))
    }

    /// Notes that nothing will be appended to `grant` any more, of which `used` bytes are filled.
    ///
    /// # Errors
    /// The client has not joined on this session, the node is not the home's primary, or the grant is none of the client's.
    pub fn seal(
        &self,
        client: ClientId,
        session: SessionId,
        home: HomeId,
        grant: &ExtentGrant,
        used: u64,
    ) -> Result<(), Refusal> {
        self.clients().check(client, session)?;
        self.in_extents(home, |extents| extents.seal(client, grant, used))
    }

    /// Whether a client has joined and not left.
    pub fn is_joined(&self, client: ClientId) -> bool {
        self.clients().is_joined(client)
    }

    /// Clients that have extents open here and have not joined, the lowest ids: whoever knows all clients knows which of them are
    /// nobody's any more.
    pub fn orphans(&self, most: usize) -> Vec<ClientId> {
        let homes = self.homes();
        let clients = self.clients();
        let mut owners: BTreeSet<ClientId> = BTreeSet::new();
        for of in homes.values() {
            owners.extend(lock(&of.extents).owners().filter(|owner| !clients.is_joined(*owner)));
        }
        owners.into_iter().take(most).collect()
    }

    /// Bytes of a home by what they are for; `None` where this node is not its primary.
    pub fn usage(&self, home: HomeId) -> Option<Usage> {
        let homes = self.homes();
        let extents = &homes.get(&home)?.extents;
        let clients = self.clients();
        Some(lock(extents).usage(|client| clients.is_joined(client)))
    }

    /// What the node knows of each extent of a home, whatever its memory says; `None` where it is not the primary.
    pub fn extent_words(&self, home: HomeId) -> Option<Vec<ExtentWord>> {
        self.homes().get(&home).map(|of| lock(&of.extents).all_words().to_vec())
    }

    pub(crate) fn clients(&self) -> MutexGuard<'_, Clients<L>> {
        lock(&self.clients)
    }

    fn homes(&self) -> RwLockReadGuard<'_, BTreeMap<HomeId, Primary<M>>> {
        self.homes.read().expect("no thread panicked while it changed homes")
    }

    /// Does something to the extents of an open home. No map is adopted meanwhile, and no fence ends.
    fn in_extents<T>(
        &self,
        home: HomeId,
        work: impl FnOnce(&mut Extents<M>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let homes = self.homes();
        let of = homes.get(&home).ok_or(Refusal::NotPrimary { node: self.node, home })?;
        if !of.is_open {
            return Err(Refusal::HomeClosed(home));
        }
        work(&mut lock(&of.extents))
    }
}

/// A thread that panicked while it held a lock has ended the daemon; others that still run end the same way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("the thread that held this lock met a fault and is ending the daemon")
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_control::map::{CommitKind, Shape};
    use farrow_fabric::Mapping;
    use farrow_fabric_shm::{Hugepages, NodeMemory};
    use farrow_layout::Policy;

    const HOME: HomeId = HomeId(0);
    const HERE: SessionId = SessionId(1);
    const LATER: SessionId = SessionId(2);

    fn ledger() -> Ledger<Arc<Mapping>> {
        let shape = Shape {
            name: "test".into(),
            commit: CommitKind::Colocated,
            policy: Policy::Replicate { copies: 1 },
            nodes: vec!["10.0.0.1:7400".into()],
            homes_per_node: 1,
            max_keys: 64,
            memory_len: 1 << 20,
            block_len: 64 << 10,
            extent_len: 4 << 10,
        };
        let map = ClusterMap::of(&shape).unwrap();
        let memory = NodeMemory::create(map.plan().unwrap().memory_for(1), Hugepages::Off).unwrap();
        Ledger::new(&map, NodeId(0), 8, &memory.mapping())
    }

    #[test]
    fn owners_that_have_not_joined_are_named_until_their_extents_are_sealed() {
        let it = ledger();
        let clients = [9, 3, 5].map(ClientId);
        let grants = clients.map(|client| {
            it.join(client, HERE, &Arc::default()).unwrap();
            it.open(client, HERE, HOME, 1).unwrap();
            it.open(client, HERE, HOME, 1).unwrap()
        });
        assert_eq!(it.orphans(8), [], "all are here");
        it.end(HERE);
        assert_eq!(it.orphans(8), [3, 5, 9].map(ClientId), "each once");
        assert_eq!(it.orphans(2), [3, 5].map(ClientId), "the lowest first");
        it.join(ClientId(5), LATER, &Arc::default()).unwrap();
        assert_eq!(it.orphans(8), [3, 9].map(ClientId));
        let (_, open) = it.evict(ClientId(9));
        assert_eq!(it.orphans(8), [3, 9].map(ClientId), "who is refused may have something open still");
        assert_eq!((open.len(), open[1].grant), (2, grants[0]));
        for open in open {
            it.seal_for(ClientId(9), open.home, &open.grant, 0).unwrap();
        }
        assert_eq!(it.orphans(8), [ClientId(3)]);
    }
}
