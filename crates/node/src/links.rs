//! All ways into the node's memory, and the epoch they belong to.

use crate::StartError;
use crate::clients::{Link, MOST_AGENTS};
use crate::promises::check_fence;
use crate::rdma::{self, RdmaHost, RdmaLink};
use farrow_config::{Config, Require, Transport};
use farrow_control::message::{RdmaEnd, RdmaPort, Refusal, ShmEnd};
use farrow_fabric::boot_time_ns;
use farrow_fabric_shm::{FenceError, NodeMemory, Revoked, ShmGrant, ShmHost, peer_process, send_grant};
use farrow_layout::{ClientId, Epoch, ShmControl, ShmLink};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{RwLock, RwLockReadGuard};

/// Hands links out and takes them back.
pub(crate) struct Links {
    memory: NodeMemory,
    rdma: Box<dyn RdmaHost>,
    /// Why there is no shared memory, if there is none.
    no_shm: Option<&'static str>,
    /// As in `state`, for those who only want to know.
    epoch: AtomicU64,
    /// Until when links may be used, in nanoseconds of CLOCK_BOOTTIME.
    lease_until: AtomicU64,
    /// Links are granted and taken back under its read lock, so that a fence, which holds the write lock, meets none
    /// half granted.
    state: RwLock<State>,
}

struct State {
    epoch: Epoch,
    /// A fence to `epoch` has not come to its end yet.
    is_fencing: bool,
    shm: Shm,
}

enum Shm {
    Offered(ShmHost),
    Refused(&'static str),
}

/// The address that clients dial: the device is chosen toward it. A name that does not resolve here is no obstacle.
fn own_address(config: &Config) -> IpAddr {
    let resolved = config.node.advertised().to_socket_addrs().ok().and_then(|mut all| all.next());
    resolved.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

impl Links {
    /// Offers `memory`, as far as `config` wants and the machine can.
    pub(crate) fn start(config: &Config, memory: NodeMemory, epoch: Epoch) -> Result<Links, StartError> {
        let max_links = config.node.max_clients + MOST_AGENTS;
        let shm = match config.fabric.transport {
            Transport::Rdma => Shm::Refused("fabric.transport is rdma"),
            Transport::Auto | Transport::Shm => {
                Shm::Offered(ShmHost::start(memory.len(), max_links, epoch.0)?)
            }
        };
        let rdma = rdma::open(&config.fabric, &memory, own_address(config), epoch);
        let required_rdma =
            config.fabric.require == Require::Rdma || config.fabric.transport == Transport::Rdma;
        if required_rdma && rdma.ports().is_empty() {
            return Err(StartError::Required { transport: "rdma", why: rdma.note() });
        }
        let no_shm = match shm {
            Shm::Offered(_) => None,
            Shm::Refused(why) => Some(why),
        };
        let state = RwLock::new(State { epoch, is_fencing: false, shm });
        let lease_until = AtomicU64::new(ShmControl::NO_LEASE);
        Ok(Links { memory, rdma, no_shm, epoch: AtomicU64::new(epoch.0), lease_until, state })
    }

    /// Lets links be used until then, in nanoseconds of CLOCK_BOOTTIME. Over shared memory clients look at it themselves; over RDMA
    /// it is [`Links::expire`] that stops them. A lease only grows.
    pub(crate) fn set_lease(&self, until_ns: u64) {
        let before = self.lease_until.load(Ordering::Acquire);
        if before != ShmControl::NO_LEASE && until_ns <= before {
            return;
        }
        let state = self.state();
        self.lease_until.store(until_ns, Ordering::Release);
        if let Shm::Offered(host) = &state.shm {
            host.set_lease(until_ns);
        }
    }

    /// Nanoseconds of CLOCK_BOOTTIME until which links may be used.
    pub(crate) fn lease_until(&self) -> u64 {
        self.lease_until.load(Ordering::Acquire)
    }

    /// Nanoseconds that are left of the lease; `None` if it never ends.
    pub(crate) fn lease_left(&self) -> Option<u64> {
        let until = self.lease_until();
        (until != ShmControl::NO_LEASE).then(|| until.saturating_sub(boot_time_ns()))
    }

    fn is_leased(&self) -> bool {
        boot_time_ns() < self.lease_until()
    }

    /// Breaks all RDMA links if the lease has ended. New ones are refused until there is one again.
    pub(crate) fn expire(&self) {
        let state = self.state.write().expect("no thread panicked while it granted links");
        if !self.is_leased() {
            self.rdma.disconnect_all();
        }
        drop(state);
    }

    pub(crate) fn memory(&self) -> &NodeMemory {
        &self.memory
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// The RDMA ports to reach the node on, and what is to be said about them.
    pub(crate) fn rdma(&self) -> (Vec<RdmaPort>, String) {
        (self.rdma.ports(), self.rdma.note())
    }

    pub(crate) fn offers_shm(&self) -> bool {
        self.no_shm.is_none()
    }

    /// What the node offers, with reasons.
    pub(crate) fn describe(&self, shm_socket: &str) -> Vec<String> {
        let shm = match self.no_shm {
            None => format!("shm: on the Unix socket @{shm_socket}"),
            Some(why) => format!("shm: no ({why})"),
        };
        let (ports, note) = self.rdma();
        let named: Vec<_> = ports.iter().map(|port| format!("{} port {}", port.device, port.port)).collect();
        let rdma = match named.as_slice() {
            [] => format!("rdma: no ({note})"),
            named => format!("rdma: on {} ({note})", named.join(", ")),
        };
        vec![shm, rdma]
    }

    /// A link over shared memory for the process at the other end of `socket`. `keep` notes it for its client before any
    /// fence can come between, and says which link it had before.
    pub(crate) fn link_shm(
        &self,
        client: ClientId,
        socket: &UnixStream,
        keep: impl Fn(Link) -> Result<Link, Refusal>,
    ) -> Result<ShmGrant, Refusal> {
        let state = self.leased_state()?;
        let host = match &state.shm {
            Shm::Offered(host) => host,
            Shm::Refused(why) => return Err(no_shm(why)),
        };
        let process = peer_process(socket).map_err(|e| Refusal::Transport(e.to_string()))?;
        // A client has one link: with the old one gone there are as many links as there may be clients.
        state.take_back(&*self.rdma, client, keep(Link::None)?);
        // A daemon that embeds its clients must not be told to kill itself: there, a chain that does not end fails the fence.
        let process = (!is_ourselves(socket)).then_some(process);
        let grant = host.grant(process).map_err(|full| Refusal::TooManyClients(full.links))?;
        if let Err(refusal) = keep(Link::Shm(grant)) {
            state.take_back(&*self.rdma, client, Link::Shm(grant));
            return Err(refusal);
        }
        Ok(grant)
    }

    /// Passes the descriptors of memory and control page, behind the reply.
    pub(crate) fn pass_files(&self, socket: &UnixStream, grant: &ShmGrant) -> Result<(), String> {
        match &self.state().shm {
            Shm::Offered(host) => {
                send_grant(socket, self.memory.fd(), host.fd(), grant).map_err(|e| e.to_string())
            }
            Shm::Refused(why) => Err((*why).to_owned()),
        }
    }

    /// A link over RDMA; `keep` as for [`Links::link_shm`].
    pub(crate) fn link_rdma(
        &self,
        client: ClientId,
        end: &RdmaEnd,
        keep: impl Fn(Link) -> Result<Link, Refusal>,
    ) -> Result<RdmaLink, Refusal> {
        let state = self.leased_state()?;
        state.take_back(&*self.rdma, client, keep(Link::None)?);
        let link = self.rdma.connect(client, state.epoch, end).map_err(Refusal::Transport)?;
        if let Err(refusal) = keep(Link::Rdma(state.epoch)) {
            self.rdma.disconnect(client);
            return Err(refusal);
        }
        Ok(link)
    }

    /// Takes a link back. Unless the log says otherwise, nothing posted on it will execute when this returns.
    pub(crate) fn unlink(&self, client: ClientId, link: Link) {
        self.state().take_back(&*self.rdma, client, link);
    }

    /// Breaks all links of earlier epochs and waits until they are at rest. Says how many there were.
    ///
    /// # Errors
    /// The epoch is not newer; or some client cannot be stopped: then links are broken all the same, and the same fence
    /// may be asked for again.
    pub(crate) fn fence(&self, epoch: Epoch) -> Result<u32, Refusal> {
        let mut state = self.state.write().expect("no thread panicked while it granted links");
        if epoch.0 == ShmLink::UNUSED {
            return Err(Refusal::Bad(format!("epoch {epoch} means no epoch")));
        }
        let is_again = state.is_fencing && epoch == state.epoch;
        if !is_again {
            check_fence(state.epoch, epoch)?;
        }
        state.epoch = epoch;
        state.is_fencing = true;
        self.epoch.store(epoch.0, Ordering::Release);
        // First, and whatever comes of shared memory: one client that cannot be stopped there must not spare all others.
        let rdma = self.rdma.fence(epoch);
        let shm = match &state.shm {
            Shm::Offered(host) => match host.fence(epoch.0) {
                Ok(fenced) => fenced.links as u32,
                // The second attempt of a fence whose shared memory has come to rest by itself.
                Err(FenceError::NotLater { .. }) if is_again => 0,
                Err(error) => return Err(Refusal::Transport(error.to_string())),
            },
            Shm::Refused(_) => 0,
        };
        let rdma = rdma.map_err(Refusal::Transport)?;
        state.is_fencing = false;
        Ok(shm + rdma)
    }

    /// Fails all links for good, at once.
    pub(crate) fn close(&self) {
        // Poisoned or not: what matters is that nobody goes on.
        let mut state = self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Shm::Offered(host) = &state.shm {
            host.set_lease(0);
            // Dropping the host marks its page dead.
            state.shm = Shm::Refused("the node is stopping");
        }
    }

    fn leased_state(&self) -> Result<RwLockReadGuard<'_, State>, Refusal> {
        let state = self.state();
        if self.is_leased() { Ok(state) } else { Err(Refusal::NoLease) }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no thread panicked while it fenced")
    }
}

impl State {
    fn take_back(&self, rdma: &dyn RdmaHost, client: ClientId, link: Link) {
        match (link, &self.shm) {
            (Link::Shm(grant), Shm::Offered(host)) => match host.release(&grant) {
                Revoked::Quiet | Revoked::ClientGone | Revoked::NotGranted => {}
                Revoked::ClientKilled => {
                    tracing::warn!(%client, "killed the process of a client that did not come to rest");
                }
                Revoked::StillBusy { why } => {
                    tracing::error!(%client, why, "a client cannot be stopped: its link is lost until the node restarts");
                }
            },
            (Link::Rdma(_), _) => rdma.disconnect(client),
            (Link::Shm(_), Shm::Refused(_)) | (Link::None, _) => {}
        }
    }
}

/// What a client needs of a grant besides the files.
pub(crate) fn shm_end(grant: &ShmGrant) -> ShmEnd {
    ShmEnd { link: grant.link, key: grant.key, epoch: grant.epoch }
}

fn no_shm(why: &str) -> Refusal {
    Refusal::Transport(format!("this node offers no shared memory: {why}"))
}

fn is_ourselves(socket: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| peer.pid == rustix::process::getpid())
}

const _: () = assert!(ShmControl::NO_LEASE != 0, "a lease of 0 has always run out");
