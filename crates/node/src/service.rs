//! What a node does on request.

use crate::StartError;
use crate::clients::{Link, SessionId, Who};
use crate::format::{Hosted, format, hosted};
use crate::ledger::Ledger;
use crate::links::{Links, shm_end};
use crate::memory;
use crate::stats;
use crate::wire::Wire;
use farrow_config::Config;
use farrow_control::map::ClusterMap;
use farrow_control::message::{NodeStats, Refusal, Reply, Request, SegmentStats, Welcome};
use farrow_fabric::Mapping;
use farrow_fabric_shm::ShmGrant;
use farrow_layout::{Incarnation, NodeId, Plan};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
    map: ClusterMap,
    plan: Plan,
    shm_socket: String,
    boot_id: String,
    started: Instant,
    max_clients: u32,
    links: Links,
    ledger: Ledger<Arc<Mapping>, Link>,
    hosted: Vec<Hosted>,
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
    /// Makes and formats the memory of `node`, and offers it.
    pub(crate) fn start(
        config: &Config,
        map: ClusterMap,
        node: NodeId,
        shm_socket: &str,
    ) -> Result<Service, StartError> {
        let plan = map.plan().map_err(farrow_control::map::MapError::from)?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|source| StartError::System { what: "read the kernel's boot id", source })?;
        let memory = memory::make(&config.node, &map, node)?;
        let incarnation = Incarnation(random());
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
            hosted: hosted(&map, node),
            segments: Mutex::new(None),
            counts: Default::default(),
            map,
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

    /// The map, of the node's present epoch.
    pub(crate) fn map(&self) -> ClusterMap {
        ClusterMap { epoch: self.links.epoch(), ..self.map.clone() }
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
            Request::Fence { epoch, deposed: _ } => {
                let fenced = self.links.fence(epoch);
                match &fenced {
                    Ok(links) => tracing::info!(%epoch, links, who = who.name, "fenced"),
                    Err(refusal) => {
                        tracing::warn!(%epoch, %refusal, who = who.name, "a fence was refused or failed")
                    }
                }
                Reply::Fenced { links: fenced? }.into()
            }
            Request::Map => Reply::Map(Box::new(self.map())).into(),
            Request::Adopt { .. }
            | Request::Evict { .. }
            | Request::SealFor { .. }
            | Request::Prepare { .. }
            | Request::Promise { .. } => {
                return Err(Refusal::Bad("this cluster is static: nobody decides about its members".into()));
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
        let segments: Vec<_> = self.hosted.iter().map(|hosted| self.segment(hosted)).collect();
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

fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// A name that is safe to log and to show.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME_LEN).collect()
}

const KINDS: [&str; 16] = [
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
