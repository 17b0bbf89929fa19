//! A node to talk to, and somebody who talks to it.
#![allow(dead_code)] // Each test binary uses its part.

use farrow_config::{Config, Hugepages};
use farrow_control::message::{ExtentGrant, NodeStats, Refusal, Reply, Request, ShmEnd, Welcome};
use farrow_control::{Channel, Error, Limits, Secret, Timeouts};
use farrow_fabric_shm::{Passed, receive_grant};
use farrow_layout::{ClientId, HomeId, Policy};
use farrow_node::Daemon;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

pub const BLOCK: u64 = 64 << 10;
pub const EXTENT: u64 = 16 << 10;
pub const ME: ClientId = ClientId(1001);

pub fn secret() -> Secret {
    Secret::from_bytes("the secret of this test's cluster").unwrap()
}

/// One small node, a cluster by itself, on any free port.
pub fn config() -> Config {
    let mut config = Config::default();
    config.cluster.name = "test".into();
    config.cluster.policy = Policy::Replicate { copies: 1 };
    config.cluster.homes_per_node = 2;
    config.cluster.max_keys = 1000;
    config.cluster.block_size = BLOCK;
    config.cluster.extent_size = EXTENT;
    config.node.listen = "127.0.0.1:0".into();
    config.node.memory = 2 << 20;
    config.node.hugepages = Hugepages::Off;
    // So that the tests are the same on a machine that has RDMA.
    config.fabric.device = Some("none0".into());
    config
}

pub fn node() -> Daemon {
    Daemon::start(&config(), &secret()).unwrap()
}

pub fn limits() -> Limits {
    let wait = Duration::from_secs(10);
    Limits { handshake: wait, message: wait, reply: wait, idle: Some(wait), ..Limits::default() }
}

pub struct Peer<S> {
    pub channel: Channel<S>,
}

pub fn dial(daemon: &Daemon) -> Peer<TcpStream> {
    let stream = TcpStream::connect(daemon.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    Peer::new(stream)
}

pub fn dial_unix(daemon: &Daemon) -> Peer<UnixStream> {
    Peer::new(unix_stream(daemon))
}

pub fn unix_stream(daemon: &Daemon) -> UnixStream {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(daemon.shm_socket()).unwrap()).unwrap()
}

impl<S: Read + Write + Timeouts> Peer<S> {
    pub fn new(stream: S) -> Peer<S> {
        Peer { channel: Channel::connect(stream, &secret(), limits()).unwrap() }
    }

    pub fn call(&mut self, request: &Request) -> Reply {
        self.try_call(request).unwrap()
    }

    pub fn try_call(&mut self, request: &Request) -> Result<Reply, Error> {
        self.channel.call(request)
    }

    pub fn hello(&mut self) -> Welcome {
        match self.call(&Request::Hello { who: "test".into(), pid: std::process::id() }) {
            Reply::Welcome(welcome) => *welcome,
            other => panic!("{other:?}"),
        }
    }

    /// As a client that has joined.
    pub fn joined(mut self, client: ClientId) -> Self {
        self.hello();
        assert_eq!(self.call(&Request::Join { client }), Reply::Joined);
        self
    }

    pub fn open(&mut self, client: ClientId, home: u16, bytes: u64) -> Result<ExtentGrant, Refusal> {
        match self.call(&Request::OpenExtent { client, home: HomeId(home), bytes }) {
            Reply::Extent(grant) => Ok(grant),
            Reply::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub fn seal(
        &mut self,
        client: ClientId,
        home: u16,
        grant: ExtentGrant,
        used: u64,
    ) -> Result<(), Refusal> {
        match self.call(&Request::SealExtent { client, home: HomeId(home), grant, used }) {
            Reply::Done => Ok(()),
            Reply::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub fn stats(&mut self) -> NodeStats {
        match self.call(&Request::Stats) {
            Reply::Stats(stats) => *stats,
            other => panic!("{other:?}"),
        }
    }

    pub fn refused(&mut self, request: &Request) -> Refusal {
        match self.call(request) {
            Reply::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }
}

impl Peer<UnixStream> {
    pub fn link(&mut self, client: ClientId) -> Result<ShmEnd, Refusal> {
        match self.call(&Request::LinkShm { client, want_files: false }) {
            Reply::Shm(end) => Ok(end),
            Reply::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub fn link_with_files(&mut self, client: ClientId) -> (ShmEnd, Passed) {
        match self.call(&Request::LinkShm { client, want_files: true }) {
            Reply::Shm(end) => (end, receive_grant(self.channel.stream()).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

/// Waits for what other threads bring about.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}
