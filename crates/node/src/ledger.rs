//! Who has joined a node, and which extents they were given.

use crate::OwnMemory;
use crate::clients::{Clients, SessionId, Who};
use crate::extents::{Extents, Usage};
use crate::format::hosted;
use farrow_control::map::ClusterMap;
use farrow_control::message::{ExtentGrant, Refusal};
use farrow_layout::{ClientId, ExtentWord, HomeId, NodeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a node decides about clients and space, without the sockets and the links (`L` is what it keeps of a client's link):
/// the daemon has one over mapped memory, the simulator one for each of its nodes. Thread-safe where `M` is.
#[derive(Debug)]
pub struct Ledger<M, L = ()> {
    node: NodeId,
    clients: Mutex<Clients<L>>,
    /// The homes of which this node is the primary.
    extents: BTreeMap<HomeId, Mutex<Extents<M>>>,
}

impl<M: OwnMemory + Clone, L: Copy + Default> Ledger<M, L> {
    /// Nobody has joined, all extents are free. `memory` is formatted, its tables of extents are zero.
    ///
    /// # Panics
    /// If the map's geometry cannot be laid out.
    pub fn new(map: &ClusterMap, node: NodeId, max_clients: u32, memory: &M) -> Ledger<M, L> {
        let plan = map.plan().expect("a map in use has a geometry that can be laid out");
        let primary = hosted(map, node).into_iter().filter(|hosted| hosted.rank == 0);
        let extents = primary.map(|hosted| {
            let extents = Extents::new(hosted.home, plan.segment(hosted.segment), memory.clone());
            (hosted.home, Mutex::new(extents))
        });
        Ledger { node, extents: extents.collect(), clients: Mutex::new(Clients::new(max_clients)) }
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
        self.extents_of(home)?.open(client, bytes)
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
        self.extents_of(home)?.seal(client, grant, used)
    }

    /// Whether a client has joined and not left.
    pub fn is_joined(&self, client: ClientId) -> bool {
        self.clients().is_joined(client)
    }

    /// Bytes of a home by what they are for; `None` where this node is not its primary.
    pub fn usage(&self, home: HomeId) -> Option<Usage> {
        let extents = self.extents.get(&home)?;
        let clients = self.clients();
        Some(lock(extents).usage(|client| clients.is_joined(client)))
    }

    /// What the node knows of each extent of a home, whatever its memory says; `None` where it is not the primary.
    pub fn extent_words(&self, home: HomeId) -> Option<Vec<ExtentWord>> {
        self.extents.get(&home).map(|extents| lock(extents).all_words().to_vec())
    }

    pub(crate) fn clients(&self) -> MutexGuard<'_, Clients<L>> {
        lock(&self.clients)
    }

    fn extents_of(&self, home: HomeId) -> Result<MutexGuard<'_, Extents<M>>, Refusal> {
        let extents = self.extents.get(&home).ok_or(Refusal::NotPrimary { node: self.node, home })?;
        Ok(lock(extents))
    }
}

/// A thread that panicked while it held a lock has ended the daemon; others that still run end the same way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("the thread that held this lock met a fault and is ending the daemon")
}
