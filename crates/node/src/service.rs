//! What a node does on request.

use crate::StartError;
use crate::clients::{Link, SessionId, Who};
use crate::format::{Hosted, format, hosted};
use crate::ledger::Ledger;
use crate::links::{Links, shm_end};
use crate::promises::Promises;
use crate::segments::Segments;
use crate::stats;
use crate::wire::Wire;
use farrow_config::Config;
use farrow_control::coordination::MAX_ORPHANS;
use farrow_control::map::ClusterMap;
use farrow_control::message::{NodeStats, OpenGrant, Refusal, Reply, Request, SegmentStats, Welcome};
use farrow_fabric::{Mapping, boot_time_ns};
use farrow_fabric_shm::{NodeMemory, ShmGrant};
use farrow_layout::{ClientId, Epoch, HomeId, Incarnation, NodeId, Plan};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

/// The numbers of segments are told again for so many times as long as it took to count them: whoever asks in a loop costs a
/// tenth of a core at most, and a small node always tells what is.
const STATS_KEPT: u32 = 9;
/// Longest name of a program that is kept.
const NAME_LEN: usize = 128;

/// The numbers of all segments.
struct Counted {
    at: Instant,
    took: Duration,
    segments: Vec<SegmentStats>,
}

/// A node's state and all that can be asked of it. Thread-safe; a request that waits delays nobody who does not need what
/// it waits for.
pub(crate) struct Service {
    node: NodeId,
    incarnation: Incarnation,
    map: RwLock<Arc<ClusterMap>>,
    promises: Promises,
    segments_used: Segments,
    plan: Plan,
    shm_socket: String,
    boot_id: String,
    started: Instant,
    max_clients: u32,
    links: Links,
    ledger: Ledger<Arc<Mapping>, Link>,
    segments: Mutex<Option<Counted>>,
    counts: [AtomicU64; KINDS.len()],
}

/// One connection, as the service knows it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Set by the first `Hello`.
    who: Option<Arc<Who>>,
}

impl Session {
    pub(crate) fn new(id: SessionId) -> Session {
        Session { id, who: None }
    }
}

/// A reply, and whether the descriptors of the node's memory follow it.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) files: Option<ShmGrant>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        Answer { reply, files: None }
    }
}

impl Service {
    /// Formats `memory`, this life of which is `incarnation`, as the memory of `node`, and offers it.
    pub(crate) fn start(
        config: &Config,
        map: ClusterMap,
        node: NodeId,
        memory: NodeMemory,
        incarnation: Incarnation,
        shm_socket: &str,
    ) -> Result<Service, StartError> {
        let plan = map.plan().map_err(farrow_control::map::MapError::from)?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|source| StartError::System { what: "read the kernel's boot id", source })?;
        format(&memory.mapping(), memory.len(), &map, node, incarnation);
        let max_clients = config.node.max_clients;
        Ok(Service {
            node,
            incarnation,
            plan,
            shm_socket: shm_socket.to_owned(),
            boot_id: boot_id.trim().to_owned(),
            started: Instant::now(),
            max_clients,
            ledger: Ledger::new(&map, node, max_clients, &memory.mapping()),
            links: Links::start(config, memory, map.epoch)?,
            promises: Promises::default(),
            segments_used: Segments::new(&map, node),
            segments: Mutex::new(None),
            counts: Default::default(),
            map: RwLock::new(Arc::new(map)),
        })
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    pub(crate) fn max_clients(&self) -> u32 {
        self.max_clients
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// The latest map that the node knows.
    pub(crate) fn latest(&self) -> Arc<ClusterMap> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The map as others are told of it. A static one is of the epoch that the node was fenced to.
    pub(crate) fn map(&self) -> ClusterMap {
        let map = self.latest();
        let epoch = if map.is_static() { self.links.epoch() } else { map.epoch };
        ClusterMap { epoch, ..ClusterMap::clone(&map) }
    }

    /// As [`Ledger::orphans`], for a renewal.
    pub(crate) fn orphans(&self) -> Vec<ClientId> {
        self.ledger.orphans(MAX_ORPHANS)
    }

    /// Whether a view of the home may name this node before it hears of it.
    pub(crate) fn is_set_aside(&self, home: HomeId) -> bool {
        self.segments_used.is_set_aside(home)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Goes by `map` from now on, if it is a later one.
    ///
    /// # Errors
    /// It is not one of this cluster, or makes no sense.
    pub(crate) fn adopt(&self, map: ClusterMap) -> Result<(), Refusal> {
        let mut latest = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if map.epoch <= latest.epoch {
            return Ok(());
        }
        let is_ours = (&map.name, map.geometry, map.commit) == (&latest.name, latest.geometry, latest.commit);
        if !is_ours || map.is_static() {
            return Err(Refusal::Bad(format!("the map of epoch {} is not of this cluster", map.epoch)));
        }
        if let Some(why) = map.defect() {
            return Err(Refusal::Bad(format!("the map of epoch {}: {why}", map.epoch)));
        }
        tracing::debug!(epoch = %map.epoch, "a later map");
        self.ledger.adopt(&map);
        *latest = Arc::new(map);
        Ok(())
    }

    fn fence(&self, epoch: Epoch, deposed: &[NodeId]) -> Result<u32, Refusal> {
        if deposed.contains(&self.node) {
            return Err(Refusal::Deposed(self.node));
        }
        let latest = self.latest();
        if !latest.is_static() && latest.epoch < epoch {
            // Which homes are closed it does not know yet.
            self.ledger.close_all();
        }
        let begun = Instant::now();
        let left = self.promises.end(deposed, boot_time_ns());
        let links = self.links.fence(epoch)?;
        // A peer that was promised something may serve until then, without a lease of the coordinator's.
        thread::sleep(left.saturating_sub(begun.elapsed()));
        Ok(links)
    }

    fn promise(&self, peer: NodeId, incarnation: Incarnation, period: Duration) -> Result<(), Refusal> {
        let is_known = |map: &ClusterMap| {
            map.node(peer).is_some_and(|entry| entry.is_up() && entry.incarnation == incarnation)
        };
        if !is_known(&self.latest()) {
            return Err(Refusal::Deposed(peer));
        }
        self.promises.give(peer, period.min(LONGEST_PROMISE), boot_time_ns())
    }

    /// Empties a segment and says in its header whose it is.
    fn prepare(&self, home: HomeId, segment: u32, epoch: Epoch) -> Result<(), Refusal> {
        let memory = self.links.memory();
        let room = self.plan.segments_in(memory.len());
        self.segments_used.prepare(&memory.mapping(), &self.latest(), room, home, segment, epoch)
    }

    fn evict(&self, client: ClientId) -> Vec<OpenGrant> {
        let (link, open) = self.ledger.evict(client);
        if let Some(link) = link {
            self.links.unlink(client, link);
            tracing::info!(%client, "evicted a client that was taken for lost");
        }
        open
    }

    /// Carries out one request of `session`, which came over `wire`.
    pub(crate) fn answer(&self, session: &mut Session, wire: &Wire, request: Request) -> Answer {
        self.counts[kind(&request)].fetch_add(1, Ordering::Relaxed);
        if let Request::Hello { who, pid } = request {
            session.who = Some(Arc::new(Who { name: printable(&who), pid }));
            return Reply::Welcome(Box::new(self.welcome())).into();
        }
        let Some(who) = session.who.clone() else {
            return Reply::Refused(Refusal::Bad("say Hello first".into())).into();
        };
        self.carry_out(session.id, &who, wire, request)
            .unwrap_or_else(|refusal| Reply::Refused(refusal).into())
    }

    fn carry_out(
        &self,
        session: SessionId,
        who: &Arc<Who>,
        wire: &Wire,
        request: Request,
    ) -> Result<Answer, Refusal> {
        Ok(match request {
            Request::Hello { .. } => Reply::Welcome(Box::new(self.welcome())).into(),
            Request::Join { client } => {
                self.ledger.join(client, session, who)?;
                tracing::info!(%client, who = who.name, pid = who.pid, from = %wire, "a client joined");
                Reply::Joined.into()
            }
            Request::Leave { client } => {
                let link = self.ledger.leave(client, session)?;
                self.links.unlink(client, link);
                tracing::info!(%client, who = who.name, "a client left");
                Reply::Done.into()
            }
            Request::LinkShm { client, want_files } => {
                self.ledger.clients().check(client, session)?;
                let socket = wire.as_unix().ok_or_else(|| {
                    let socket = &self.shm_socket;
                    Refusal::Transport(format!(
                        "shared memory is handed out on the Unix socket @{socket}, to clients that joined there"
                    ))
                })?;
                let keep = |link| self.ledger.clients().set_link(client, session, link);
                let grant = self.links.link_shm(client, socket, keep)?;
                Answer { reply: Reply::Shm(shm_end(&grant)), files: want_files.then_some(grant) }
            }
            Request::LinkRdma { client, end } => {
                self.ledger.clients().check(client, session)?;
                let keep = |link| self.ledger.clients().set_link(client, session, link);
                let link = self.links.link_rdma(client, &end, keep)?;
                Reply::Rdma { end: link.end, memory: link.memory, epoch: link.epoch }.into()
            }
            Request::Unlink { client } => {
                let link = self.ledger.clients().set_link(client, session, Default::default())?;
                self.links.unlink(client, link);
                Reply::Done.into()
            }
            Request::OpenExtent { client, home, bytes } => {
                Reply::Extent(self.ledger.open(client, session, home, bytes)?).into()
            }
            Request::SealExtent { client, home, grant, used } => {
                self.ledger.seal(client, session, home, &grant, used)?;
                Reply::Done.into()
            }
            Request::Stats => Reply::Stats(Box::new(self.stats())).into(),
            Request::Fence { epoch, deposed } => {
                let fenced = self.fence(epoch, &deposed);
                match &fenced {
                    Ok(links) => tracing::info!(%epoch, links, who = who.name, "fenced"),
                    Err(refusal) => {
                        tracing::warn!(%epoch, %refusal, who = who.name, "a fence was refused or failed")
                    }
                }
                Reply::Fenced { links: fenced? }.into()
            }
            Request::Map => Reply::Map(Box::new(self.map())).into(),
            Request::Lease => {
                Reply::Lease { left_ms: self.links.lease_left().map(|left| left / 1_000_000) }.into()
            }
            Request::Adopt { .. } | Request::Prepare { .. } | Request::Promise { .. }
                if self.latest().is_static() =>
            {
                return Err(Refusal::Bad("this cluster is static: nobody decides about its members".into()));
            }
            Request::Adopt { map } => {
                self.adopt(*map)?;
                Reply::Done.into()
            }
            Request::Evict { client } => Reply::Evicted { open: self.evict(client) }.into(),
            Request::SealFor { client, home, grant, used } => {
                self.ledger.seal_for(client, home, &grant, used)?;
                Reply::Done.into()
            }
            Request::Prepare { home, segment, epoch } => {
                self.prepare(home, segment, epoch)?;
                Reply::Done.into()
            }
            Request::Promise { node, incarnation, for_ms } => {
                self.promise(node, incarnation, Duration::from_millis(for_ms))?;
                Reply::Promised.into()
            }
        })
    }

    /// A session has ended: its clients have left. Their open extents stay theirs, for whoever recovers them.
    pub(crate) fn end(&self, session: &Session) {
        let left = self.ledger.end(session.id);
        for (client, link) in left {
            self.links.unlink(client, link);
            tracing::info!(%client, "a client's session ended");
        }
    }

    /// Everything the node can tell about itself.
    pub(crate) fn stats(&self) -> NodeStats {
        let epoch = self.links.epoch();
        // Before the struct: a guard in its expression would be held through all of it.
        let clients = self.ledger.clients().stats(epoch);
        let segments = self.segments();
        NodeStats {
            node: self.node,
            incarnation: self.incarnation,
            epoch,
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            memory_len: self.links.memory().len(),
            pages: self.links.memory().pages().note.clone(),
            transports: self.links.describe(&self.shm_socket),
            clients,
            segments,
            requests: KINDS
                .iter()
                .zip(&self.counts)
                .map(|(kind, count)| ((*kind).to_owned(), count.load(Ordering::Relaxed)))
                .collect(),
        }
    }

    /// Whoever comes while they are counted waits and gets the same numbers.
    fn segments(&self) -> Vec<SegmentStats> {
        let mut kept = self.segments.lock().expect("counting does not panic");
        if let Some(counted) = &*kept
            && counted.at.elapsed() < counted.took * STATS_KEPT
        {
            return counted.segments.clone();
        }
        let begun = Instant::now();
        let hosted = hosted(&self.latest(), self.node);
        let segments: Vec<_> = hosted.iter().map(|hosted| self.segment(hosted)).collect();
        *kept = Some(Counted { at: Instant::now(), took: begun.elapsed(), segments: segments.clone() });
        segments
    }

    fn segment(&self, hosted: &Hosted) -> SegmentStats {
        let usage = self.ledger.usage(hosted.home).filter(|_| hosted.rank == 0);
        let memory = self.links.memory().mapping();
        stats::of_segment(hosted, &self.plan.segment(hosted.segment), &memory, usage)
    }

    fn welcome(&self) -> Welcome {
        let (rdma, rdma_note) = self.links.rdma();
        Welcome {
            node: self.node,
            incarnation: self.incarnation,
            map: self.map(),
            memory_len: self.links.memory().len(),
            shm_socket: self.links.offers_shm().then(|| self.shm_socket.clone()),
            boot_id: self.boot_id.clone(),
            rdma,
            rdma_note,
        }
    }
}

/// Nobody's lease is longer: a fence must not wait for ever on what a peer asked for.
const LONGEST_PROMISE: Duration = Duration::from_secs(60);

/// A name that is safe to log and to show.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME_LEN).collect()
}

const KINDS: [&str; 17] = [
    "hello",
    "join",
    "leave",
    "link_shm",
    "link_rdma",
    "unlink",
    "open_extent",
    "seal_extent",
    "stats",
    "fence",
    "map",
    "adopt",
    "evict",
    "seal_for",
    "prepare",
    "promise",
    "lease",
];

/// Position in [`KINDS`].
fn kind(request: &Request) -> usize {
    match request {
        Request::Hello { .. } => 0,
        Request::Join { .. } => 1,
        Request::Leave { .. } => 2,
        Request::LinkShm { .. } => 3,
        Request::LinkRdma { .. } => 4,
        Request::Unlink { .. } => 5,
        Request::OpenExtent { .. } => 6,
        Request::SealExtent { .. } => 7,
        Request::Stats => 8,
        Request::Fence { .. } => 9,
        Request::Map => 10,
        Request::Adopt { .. } => 11,
        Request::Evict { .. } => 12,
        Request::SealFor { .. } => 13,
        Request::Prepare { .. } => 14,
        Request::Promise { .. } => 15,
        Request::Lease => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_cannot_forge_log_lines() {
        assert_eq!(printable("bench\n2024 ERROR \u{1b}[31m"), "bench2024 ERROR [31m");
        assert_eq!(printable(&"é".repeat(1000)).chars().count(), NAME_LEN);
    }
}
