//! A process's session with one memory node: the control channel, and what is needed to make links.

use crate::half::{HalfLink, LinkOffer, LinkWish};
use crate::lease::NodeLease;
use crate::{AnyFabric, AnyLink, Choice, Offer, Preference, Rdma, Require, choose};
use farrow_config::Config;
use farrow_control::message::{Refusal, Reply, Request, ShmEnd, Welcome};
use farrow_control::{Channel, Limits, Secret};
use farrow_fabric::boot_time_ns;
use farrow_fabric_shm::{ShmGrant, ShmPeer, receive_grant};
use farrow_layout::{ClientId, Epoch, NodeId};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How to dial.
#[derive(Clone)]
pub struct DialOptions {
    /// The cluster's secret.
    pub secret: Secret,
    /// What the user prefers.
    pub preference: Preference,
    /// What the user insists on.
    pub require: Require,
    /// Program and purpose, as nodes show it.
    pub who: String,
    /// How long to wait for a connection.
    pub timeout: Duration,
    /// This process's end of RDMA.
    pub rdma: Rdma,
}

impl DialOptions {
    /// As `config` says how memory is reached; `who` is program and purpose.
    pub fn of(config: &Config, secret: Secret, who: &str, timeout: Duration) -> DialOptions {
        use farrow_config::{Require as Required, Transport};
        let fabric = &config.fabric;
        DialOptions {
            secret,
            preference: match fabric.transport {
                Transport::Auto => Preference::Auto,
                Transport::Rdma => Preference::Rdma,
                Transport::Shm => Preference::Shm,
            },
            require: match fabric.require {
                Required::None => Require::None,
                Required::Rdma => Require::Rdma,
                Required::Shm => Require::Shm,
            },
            who: who.to_owned(),
            timeout,
            rdma: Rdma::new(
                fabric.device.clone(),
                fabric.chosen_port(),
                fabric.chosen_gid_index(),
                fabric.queue_depth,
                fabric.inline,
            ),
        }
    }
}

/// Why a node could not be reached, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address makes no sense.
    #[error("`{address}` is not an address of a node: write host:port")]
    Address {
        /// As given.
        address: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to node {address}: {source} (is `farrow node` running there?)")]
    Connect {
        /// As given.
        address: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The channel failed.
    #[error("node {address}: {source}")]
    Channel {
        /// As given.
        address: String,
        /// What is wrong.
        #[source]
        source: farrow_control::Error,
    },
    /// The node said no.
    #[error("node {address}: {refusal}")]
    Refused {
        /// As given.
        address: String,
        /// Its reason.
        #[source]
        refusal: Refusal,
    },
    /// The node's answer does not fit the question.
    #[error("node {address} gave an answer that does not fit the question: {what}")]
    Confused {
        /// As given.
        address: String,
        /// In words.
        what: String,
    },
    /// No transport that is possible and allowed.
    #[error("node {address}: {why}")]
    Transport {
        /// As given.
        address: String,
        /// In words.
        why: String,
    },
}

enum Stream {
    Tcp(Channel<TcpStream>),
    Unix(Channel<UnixStream>),
}

impl Stream {
    fn call(&mut self, request: &Request) -> Result<Reply, farrow_control::Error> {
        match self {
            Stream::Tcp(channel) => channel.call(request),
            Stream::Unix(channel) => channel.call(request),
        }
    }

    fn set_patience(&mut self, reply: Duration) {
        match self {
            Stream::Tcp(channel) => channel.set_limits(Limits { reply, ..channel.limits() }),
            Stream::Unix(channel) => channel.set_limits(Limits { reply, ..channel.limits() }),
        }
    }
}

/// A process's session with one memory node. Thread-safe.
pub struct Session {
    address: String,
    welcome: Welcome,
    choice: Choice,
    channel: Mutex<Stream>,
    peer: Mutex<Option<Arc<ShmPeer>>>,
    lease: Arc<NodeLease>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} at {} over {})", self.welcome.node, self.address, self.choice)
    }
}

impl Session {
    /// Dials a node, proves the secret, and decides how its memory will be reached. Blocks.
    ///
    /// # Errors
    /// [`DialError`], which says what to do.
    pub fn dial(address: &str, options: &DialOptions) -> Result<Session, DialError> {
        let channel_error = |source| DialError::Channel { address: address.to_owned(), source };
        let tcp = connect_tcp(address, options.timeout)?;
        let peer = tcp
            .peer_addr()
            .map_err(|source| DialError::Connect { address: address.to_owned(), source })?
            .ip();
        let channel = Channel::connect(tcp, &options.secret, limits(options)).map_err(channel_error)?;
        let mut stream = Stream::Tcp(channel);
        let welcome = hello(&mut stream, address, options)?;
        let shm = open_shm(&welcome, address, options);
        let shm_offer: Offer = match &shm {
            Ok(_) => Ok("the node is on this host".into()),
            Err(why) => Err(why.clone()),
        };
        // The device is looked for only where it could be chosen: opening one takes time.
        let may_be_rdma = match (options.preference, options.require) {
            (_, Require::Rdma) | (Preference::Rdma, _) => true,
            (_, Require::Shm) => false,
            _ => shm_offer.is_err(),
        };
        let rdma_offer: Offer = if welcome.rdma.is_empty() {
            Err(format!("the node offers none: {}", welcome.rdma_note))
        } else if may_be_rdma {
            options.rdma.toward(peer).map(|(_, why)| why)
        } else {
            Err("not looked for: shared memory is possible".into())
        };
        let choice = choose(options.preference, options.require, &shm_offer, &rdma_offer)
            .map_err(|why| DialError::Transport { address: address.to_owned(), why })?;
        if let ("shm", Ok(unix)) = (choice.transport, shm) {
            stream = unix;
        }
        if choice.is_fallback {
            tracing::warn!(node = %welcome.node, transport = choice.transport, reason = %choice.reason, "fallback to another transport");
        }
        Ok(Session {
            address: address.to_owned(),
            welcome,
            choice,
            channel: Mutex::new(stream),
            peer: Mutex::new(None),
            lease: Arc::new(NodeLease::endless()),
        })
    }

    /// A session for questions alone: no links, so no transport is decided. Blocks.
    ///
    /// # Errors
    /// As [`Session::dial`].
    pub fn dial_control(address: &str, options: &DialOptions) -> Result<Session, DialError> {
        let tcp = connect_tcp(address, options.timeout)?;
        let channel = Channel::connect(tcp, &options.secret, limits(options));
        let mut stream = Stream::Tcp(
            channel.map_err(|source| DialError::Channel { address: address.to_owned(), source })?,
        );
        let welcome = hello(&mut stream, address, options)?;
        let choice = Choice { transport: "none", reason: "control only".into(), is_fallback: false };
        Ok(Session {
            address: address.to_owned(),
            welcome,
            choice,
            channel: Mutex::new(stream),
            peer: Mutex::new(None),
            lease: Arc::new(NodeLease::endless()),
        })
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.welcome.node
    }

    /// Its control address, as dialled.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How it introduced itself.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// How its memory is reached, and why so.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the node. Blocks; requests of several threads queue up.
    ///
    /// # Errors
    /// [`DialError::Channel`] when the session is over, [`DialError::Refused`] when the node said no.
    pub fn call(&self, request: &Request) -> Result<Reply, DialError> {
        self.call_locked(&mut self.lock(), request)
    }

    fn call_locked(&self, stream: &mut Stream, request: &Request) -> Result<Reply, DialError> {
        match stream.call(request) {
            Ok(Reply::Refused(refusal)) => Err(DialError::Refused { address: self.address.clone(), refusal }),
            Ok(reply) => Ok(reply),
            Err(source) => Err(DialError::Channel { address: self.address.clone(), source }),
        }
    }

    /// Asks for how long the node may serve: links over RDMA are believed until then. In a coordinated cluster to be asked before
    /// the first of them is made, and again well before it ends. Blocks.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn renew_lease(&self) -> Result<Option<Duration>, DialError> {
        let sent = boot_time_ns();
        match self.call(&Request::Lease)? {
            Reply::Lease { left_ms } => {
                let left = left_ms.map(Duration::from_millis);
                self.lease.hear(sent, left);
                Ok(left)
            }
            other => Err(self.confused(&other)),
        }
    }

    /// How long to wait for each reply from now on. A session whose reply did not come in time is over.
    pub fn set_patience(&self, reply: Duration) {
        self.lock().set_patience(reply);
    }

    /// A reply that was not expected, as an error.
    pub fn confused(&self, reply: &Reply) -> DialError {
        let text: String = format!("{reply:?}").chars().take(80).collect();
        DialError::Confused { address: self.address.clone(), what: text }
    }

    /// Makes `client` known to the node.
    ///
    /// # Errors
    /// As [`Session::call`]; [`Refusal::ClientTaken`] asks for another id.
    pub fn join(&self, client: ClientId) -> Result<(), DialError> {
        match self.call(&Request::Join { client })? {
            Reply::Joined => Ok(()),
            other => Err(self.confused(&other)),
        }
    }

    /// A link of `fabric` to the node, and the node's epoch that it belongs to. An earlier link of `client` is broken first:
    /// nothing posted on it will execute any more. Blocks.
    ///
    /// # Errors
    /// As [`Session::call`], and what the provider says.
    pub fn link(&self, fabric: &AnyFabric, client: ClientId) -> Result<(AnyLink, Epoch), DialError> {
        let half = HalfLink::prepare(fabric, self.choice.transport).map_err(|why| self.no_transport(why))?;
        let offer = self.offer_link(client, half.wish())?;
        let linked = half.finish(fabric, self.node(), offer);
        linked.map_err(|why| {
            // The node's end is of no use any more; if it cannot be told, it finds out when the session ends.
            let _ = self.call(&Request::Unlink { client });
            self.no_transport(why)
        })
    }

    fn no_transport(&self, why: String) -> DialError {
        DialError::Transport { address: self.address.clone(), why }
    }

    /// Brings about `bytes` more of the memory of a node of this host near ([`ShmPeer::bring_near`]), once there was a link to it.
    /// Says whether there is more.
    ///
    /// # Errors
    /// The system's, once.
    pub fn bring_near(&self, bytes: u64) -> std::io::Result<bool> {
        let peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        peer.map_or(Ok(false), |peer| peer.bring_near(bytes))
    }

    /// Whether there is more for [`Session::bring_near`] once there is a link: the node is of this host, and its memory not mapped.
    pub fn is_to_be_mapped(&self) -> bool {
        self.choice.transport == "shm" && !self.is_mapped()
    }

    fn is_mapped(&self) -> bool {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The node's part of [`Session::link`], on any thread: [`HalfLink::finish`] makes a link of it. Blocks.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn offer_link(&self, client: ClientId, wish: LinkWish) -> Result<LinkOffer, DialError> {
        match wish {
            LinkWish::Shm => self.offer_shm(client),
            LinkWish::Rdma(end) => {
                self.renew_lease()?;
                let lease = self.lease.clone();
                match self.call(&Request::LinkRdma { client, end })? {
                    Reply::Rdma { end, memory, epoch } => Ok(LinkOffer::Rdma { end, memory, epoch, lease }),
                    other => Err(self.confused(&other)),
                }
            }
        }
    }

    fn offer_shm(&self, client: ClientId) -> Result<LinkOffer, DialError> {
        let mut stream = self.lock();
        let mut peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        let want_files = peer.is_none();
        let end: ShmEnd = match self.call_locked(&mut stream, &Request::LinkShm { client, want_files })? {
            Reply::Shm(end) => end,
            other => return Err(self.confused(&other)),
        };
        let mapped = match (&*peer, &*stream) {
            (Some(peer), _) => peer.clone(),
            (None, Stream::Unix(channel)) => {
                let passed = receive_grant(channel.stream()).map_err(|e| self.no_transport(e.to_string()))?;
                let mapped = ShmPeer::map(&passed.memory, &passed.control);
                peer.insert(mapped.map_err(|e| self.no_transport(e.to_string()))?).clone()
            }
            (None, Stream::Tcp(_)) => {
                return Err(self.no_transport("shared memory is handed out over a Unix socket only".into()));
            }
        };
        let grant = ShmGrant { link: end.link, key: end.key, epoch: end.epoch };
        Ok(LinkOffer::Shm { peer: mapped, grant })
    }
}

fn limits(options: &DialOptions) -> Limits {
    Limits { handshake: options.timeout.max(Duration::from_secs(1)), ..Limits::default() }
}

pub(crate) fn connect_tcp(address: &str, timeout: Duration) -> Result<TcpStream, DialError> {
    let connect = |source| DialError::Connect { address: address.to_owned(), source };
    let targets = address.to_socket_addrs().map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidInput => DialError::Address { address: address.to_owned() },
        _ => connect(e),
    })?;
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for target in targets {
        match TcpStream::connect_timeout(&target, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(connect)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(connect(last))
}

fn hello(stream: &mut Stream, address: &str, options: &DialOptions) -> Result<Welcome, DialError> {
    let request = Request::Hello { who: options.who.clone(), pid: std::process::id() };
    match stream.call(&request) {
        Ok(Reply::Welcome(welcome)) => Ok(*welcome),
        Ok(Reply::Refused(refusal)) => Err(DialError::Refused { address: address.to_owned(), refusal }),
        Ok(other) => Err(DialError::Confused { address: address.to_owned(), what: format!("{other:?}") }),
        Err(source) => Err(DialError::Channel { address: address.to_owned(), source }),
    }
}

/// The node's Unix socket, when it is on this host; or why there is none.
fn open_shm(welcome: &Welcome, address: &str, options: &DialOptions) -> Result<Stream, String> {
    let name = welcome.shm_socket.as_ref().ok_or("the node does not share its memory")?;
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if boot_id.trim() != welcome.boot_id.trim() {
        return Err("the node is on another host".into());
    }
    let address_of = std::os::unix::net::SocketAddr::from_abstract_name(name).map_err(|e| e.to_string())?;
    let stream = UnixStream::connect_addr(&address_of).map_err(|e| {
        format!("the node is on this host, but in another network namespace? (socket @{name}: {e})")
    })?;
    let channel = Channel::connect(stream, &options.secret, limits(options))
        .map_err(|e| format!("socket @{name}: {e}"))?;
    let mut stream = Stream::Unix(channel);
    let again = hello(&mut stream, address, options).map_err(|e| e.to_string())?;
    if again.incarnation != welcome.incarnation {
        return Err(format!("another node answers on the socket @{name}"));
    }
    Ok(stream)
}
