//! The memory node's side: registers the node's memory, answers queue pairs, and destroys them for certain.
//!
//! A node's processor takes no part in the data path: a queue pair that is ready to receive is answered by the device.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farrow_control::message::{RdmaChunk, RdmaEnd, RdmaPort};
use farrow_fabric::Mapping;
use thiserror::Error;

use crate::connect::MIN_RNR_TIMER;
use crate::device::{Candidate, Gid, Overrides, Toward, choose};
use crate::memlock::{self, MemlockTooLow};
use crate::plan::chunks;
use crate::port::{Path, Port, PortError, random_psn};
use crate::sys::{
    Access, CallError, CompletionQueue, Context, InitAttr, MappedRegion, ProtectionDomain, QpCaps, QueuePair,
    RtrAttr, RtsAttr,
};

/// The RDMA ports of one memory node, its memory registered with each of their devices, and the links on them.
/// Thread-safe; dropping it breaks every link.
pub struct VerbsHost {
    // Queue pairs before regions, regions before the mapping (which they hold).
    state: Mutex<State>,
    ports: Vec<HostPort>,
    options: HostOptions,
}

struct State {
    epoch: u64,
    next: u64,
    links: BTreeMap<u64, QueuePair>,
}

struct HostPort {
    port: Port,
    queue: Arc<CompletionQueue>,
    memory: Arc<Registered>,
}

/// The node's memory as one device knows it.
struct Registered {
    domain: Arc<ProtectionDomain>,
    chunks: Vec<RdmaChunk>,
    _regions: Vec<MappedRegion>,
}

/// How a host is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostOptions {
    /// Bytes of a registered chunk, at most: a multiple of the segment length, so that no block lies across two.
    pub chunk_len: u64,
    /// Routers that an answer may pass.
    pub hop_limit: u8,
    /// DSCP and ECN bits of RoCE v2.
    pub traffic_class: u8,
    /// The service level on InfiniBand, the priority on Ethernet.
    pub service_level: u8,
    /// The partition, by its index at the port.
    pub pkey_index: u16,
}

impl Default for HostOptions {
    fn default() -> Self {
        HostOptions {
            chunk_len: MAX_CHUNK_LEN,
            hop_limit: 64,
            traffic_class: 0,
            service_level: 0,
            pkey_index: 0,
        }
    }
}

/// Larger regions exist, but pinning one of this size takes seconds already, in one uninterruptible call.
const MAX_CHUNK_LEN: u64 = 16 << 30;

/// A host could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Nothing to serve on.
    #[error("no RDMA port was given: choose one of the candidates")]
    NoPort,
    /// The memory cannot be locked.
    #[error(transparent)]
    Memlock(#[from] MemlockTooLow),
    /// A port could not be opened.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The device refused the memory.
    #[error("RDMA device {device} refused {len} bytes of memory at offset {offset}: {why}")]
    Register {
        /// The device.
        device: String,
        /// Where in the node's memory.
        offset: u64,
        /// How much.
        len: u64,
        /// Why, and what to do.
        why: String,
    },
}

/// A link could not be accepted.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// The port that the client wants is not one of this node.
    #[error("this node has no RDMA port with GID {0}; it may have changed: ask for its ports again")]
    NoSuchPort(Gid),
    /// The client's end makes no sense.
    #[error("the client's end of the link does not make sense: {what}; does it run the same version?")]
    End {
        /// What is wrong.
        what: &'static str,
    },
    /// The device refused something.
    #[error("RDMA device {device}: {why}")]
    Device {
        /// Its name.
        device: String,
        /// What, why, and what to do.
        why: String,
    },
}

/// A fence that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a fence to epoch {asked}, but the links are of epoch {present}: epochs only grow")]
pub struct NotLater {
    /// The epoch asked for.
    pub asked: u64,
    /// The epoch now.
    pub present: u64,
}

/// One link of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerbsLinkId(u64);

/// A link that is ready to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The node's end, for the client.
    pub end: RdmaEnd,
    /// The node's memory and its keys, for the client. They are secrets: the control channel encrypts them.
    pub memory: Vec<RdmaChunk>,
    /// For [`VerbsHost::close`].
    pub link: VerbsLinkId,
    /// The epoch of the link.
    pub epoch: u64,
}

impl VerbsHost {
    /// Opens `ports` and registers `memory` with each device among them. Links will be of `epoch`.
    ///
    /// Pins all of the memory, which takes in the order of a second for 4 GiB in small pages and much less in huge ones.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind.
    pub fn start(
        ports: &[Candidate],
        memory: &Arc<Mapping>,
        options: HostOptions,
        epoch: u64,
    ) -> Result<VerbsHost, StartError> {
        let mut devices: Vec<&str> = ports.iter().map(|candidate| candidate.device.as_str()).collect();
        devices.sort_unstable();
        devices.dedup();
        if devices.is_empty() {
            return Err(StartError::NoPort);
        }
        memlock::check(memory.len() as u64 * devices.len() as u64)?;
        let mut opened: Vec<HostPort> = Vec::new();
        for candidate in ports {
            let known = opened.iter().find(|other| other.port.candidate().device == candidate.device);
            let (memory, queue) = match known {
                Some(other) => (Arc::clone(&other.memory), Arc::clone(&other.queue)),
                None => open(&candidate.device, memory, &options)?,
            };
            let port = Port::on(&memory.domain, candidate)?;
            opened.push(HostPort { port, queue, memory });
        }
        let state = State { epoch, next: 1, links: BTreeMap::new() };
        Ok(VerbsHost { state: Mutex::new(state), ports: opened, options })
    }

    /// The ports, for [`farrow_control::message::Welcome::rdma`]. A client chooses the one that it reaches best.
    pub fn ports(&self) -> Vec<RdmaPort> {
        let announce = |HostPort { port, .. }: &HostPort| {
            let candidate = port.candidate();
            RdmaPort {
                device: candidate.device.clone(),
                port: candidate.port,
                gid_index: candidate.gid_index,
                gid: candidate.gid.0,
            }
        };
        self.ports.iter().map(announce).collect()
    }

    /// Makes the node's end of a link to the client's `peer`, ready to receive, on the port with GID `via`. Without `via`
    /// it is the port that this machine would reach the client from.
    ///
    /// The link can reach all of the memory. Whether the client may, the caller has made sure of.
    ///
    /// # Errors
    /// [`AcceptError`]; nothing is left behind.
    pub fn accept(&self, peer: &RdmaEnd, via: Option<Gid>) -> Result<Accepted, AcceptError> {
        let host = self.port_for(peer, via)?;
        let port = &host.port;
        let device = |error: CallError| AcceptError::Device {
            device: port.candidate().device.clone(),
            why: memlock::explain(&error),
        };
        let path_mtu = port.path_mtu(peer).ok_or(AcceptError::End { what: "an MTU that does not exist" })?;
        // Held throughout: a link is either broken by a fence, or of the epoch after it.
        let mut state = self.state();
        let caps = QpCaps { max_send_wr: 1, max_recv_wr: 0, max_send_sge: 1, max_inline_data: 0 };
        let queue_pair = QueuePair::create(port.domain(), &host.queue, &host.queue, caps).map_err(device)?;
        let psn = random_psn();
        let reads = port.responder_reads();
        let init = InitAttr {
            port: port.candidate().port,
            pkey_index: self.options.pkey_index,
            access: Access::FULL,
        };
        queue_pair.to_init(&init).map_err(device)?;
        queue_pair
            .to_ready_to_receive(&RtrAttr {
                path_mtu,
                remote_queue_pair: peer.qpn,
                receive_psn: peer.psn,
                max_dest_rd_atomic: reads,
                min_rnr_timer: MIN_RNR_TIMER,
                address: port.address(peer, &self.path()),
            })
            .map_err(device)?;
        // It never sends, but ready to receive is a state that devices are not used to stay in.
        queue_pair
            .to_ready_to_send(&RtsAttr {
                timeout: 14,
                retry_count: 7,
                rnr_retry: 7,
                send_psn: psn,
                max_rd_atomic: 1,
            })
            .map_err(device)?;
        let end = port.end(&queue_pair, psn, reads);
        let link = state.next;
        state.next += 1;
        state.links.insert(link, queue_pair);
        let memory = host.memory.chunks.clone();
        Ok(Accepted { end, memory, link: VerbsLinkId(link), epoch: state.epoch })
    }

    /// Destroys one link; `false` if it was gone already. Nothing of it executes after the return.
    pub fn close(&self, link: VerbsLinkId) -> bool {
        let queue_pair = self.state().links.remove(&link.0);
        queue_pair.is_some()
    }

    /// Destroys all links and makes `new_epoch` that of later ones. Nothing of the destroyed links executes after
    /// the return. How many there were.
    ///
    /// # Errors
    /// [`NotLater`]; nothing has changed then.
    pub fn fence(&self, new_epoch: u64) -> Result<usize, NotLater> {
        let mut state = self.state();
        if new_epoch <= state.epoch {
            return Err(NotLater { asked: new_epoch, present: state.epoch });
        }
        state.epoch = new_epoch;
        let links = std::mem::take(&mut state.links);
        // Two passes: the first stops all of them from answering, which is quick; the second waits for each to be gone.
        for queue_pair in links.values() {
            if let Err(error) = queue_pair.to_error() {
                tracing::debug!(%error, "a queue pair could not be put into error before its end");
            }
        }
        let count = links.len();
        drop(links);
        Ok(count)
    }

    /// The epoch of later links.
    pub fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Links there are.
    pub fn links(&self) -> usize {
        self.state().links.len()
    }

    fn port_for(&self, peer: &RdmaEnd, via: Option<Gid>) -> Result<&HostPort, AcceptError> {
        if let Some(gid) = via {
            let wanted = |host: &&HostPort| host.port.candidate().gid == gid;
            return self.ports.iter().find(wanted).ok_or(AcceptError::NoSuchPort(gid));
        }
        if let [only] = &self.ports[..] {
            return Ok(only);
        }
        let client: IpAddr = Gid(peer.gid).to_ip();
        let candidates = self.ports.iter().map(|host| host.port.candidate().clone()).collect();
        // Whoever started this host has lifted the rules about GIDs already, if it did.
        let ranking = choose(candidates, &Toward::observe(client), &Overrides::default());
        let best =
            ranking.best().ok().and_then(|best| self.ports.iter().find(|host| host.port.candidate() == best));
        Ok(best.unwrap_or(&self.ports[0]))
    }

    fn path(&self) -> Path {
        let HostOptions { hop_limit, traffic_class, service_level, .. } = self.options;
        Path { hop_limit, traffic_class, service_level }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a device and registers the memory with it.
fn open(
    device: &str,
    memory: &Arc<Mapping>,
    options: &HostOptions,
) -> Result<(Arc<Registered>, Arc<CompletionQueue>), StartError> {
    let call = |source| PortError::Call { device: device.to_owned(), source };
    let context = Context::open(device).map_err(PortError::from)?;
    let domain = ProtectionDomain::allocate(&context).map_err(call)?;
    // Nothing ever completes on it: the node posts nothing.
    let queue = CompletionQueue::create(&context, 1, None, 0).map_err(call)?;
    let max_len = context.limits().map_err(call)?.max_mr_size.min(MAX_CHUNK_LEN);
    let chunk_len = options.chunk_len.min(max_len).max(4096) & !4095;
    let mut registered = Vec::new();
    let mut regions = Vec::new();
    for chunk in chunks(memory.base().addr() as u64, memory.len() as u64, chunk_len) {
        let range = chunk.offset as usize..(chunk.offset + chunk.len) as usize;
        let region = MappedRegion::register(&domain, memory, range, Access::FULL).map_err(|error| {
            let why = memlock::explain(&error);
            StartError::Register { device: device.to_owned(), offset: chunk.offset, len: chunk.len, why }
        })?;
        registered.push(RdmaChunk { key: region.region().rkey(), ..chunk });
        regions.push(region);
    }
    Ok((Arc::new(Registered { domain, chunks: registered, _regions: regions }), queue))
}

impl fmt::Debug for VerbsHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(f, "VerbsHost({} ports, {} links, epoch {})", self.ports.len(), state.links.len(), state.epoch)
    }
}
