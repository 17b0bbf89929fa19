//! A memory node's life: bind, serve, stop.

use crate::agent::{self, Ground, Role, Tasks};
use crate::clients::MOST_AGENTS;
use crate::coordinated::{Peers, beat, keep, register};
use crate::listen::{Door, Listeners};
use crate::memory;
use crate::notify::{READY, STOPPING, notify};
use crate::service::Service;
use crate::session;
use crate::sessions::Sessions;
use crate::{Failed, StartError};
use farrow_config::{Commit, Config};
use farrow_control::coordination::Registration;
use farrow_control::map::{ClusterMap, CommitKind, Shape};
use farrow_control::message::NodeStats;
use farrow_control::{Secret, host_of, with_port};
use farrow_daemon::{Cause, caught, wait_for_signals};
use farrow_fabric_shm::NodeMemory;
use farrow_layout::{Incarnation, NodeId};
use farrow_transport::{Caller, DialOptions, Require};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Sessions beyond one per client: for tools and for clients that look around before they join.
const SESSIONS_FOR_TOOLS: usize = 16;
/// After an error of `accept` that may last, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The work of one of the threads that carry out orders.
type Agent = Box<dyn FnOnce(&Ground, &Tasks, &Ending) + Send>;

/// A daemon that has its address, and nothing else yet. Connections wait until it serves.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    listeners: Listeners,
    advertised: String,
}

/// A memory node that serves. Dropping it stops it.
pub struct Daemon {
    core: Arc<Core>,
    advertised: String,
    threads: Vec<JoinHandle<()>>,
}

/// How a daemon came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// The cluster goes on without this life of its memory: what it held is given up. Started again, it is a spare.
    Deposed,
}

/// What a daemon's own parts may ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To stop: its owner is done with it.
    ByOwner,
    /// To stop: the cluster goes on without this life of the memory.
    Deposed,
}

/// How a daemon is told to stop.
pub(crate) type Ending = farrow_daemon::Ending<Asked>;

/// What the threads of a daemon share.
struct Core {
    service: Arc<Service>,
    secret: Secret,
    listeners: Listeners,
    sessions: Arc<Sessions>,
    ending: Arc<Ending>,
}

impl Bound {
    /// Where it listens; the port is the system's choice if `node.listen` has port 0.
    pub fn address(&self) -> SocketAddr {
        self.listeners.address()
    }

    /// The address that clients dial and that the list of nodes must contain.
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// Makes the memory, registers it with a coordinator (waiting for one, and for the cluster to have its first nodes), formats
    /// it and serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running, and the address is free again.
    pub fn join(self, secret: &Secret) -> Result<Daemon, StartError> {
        self.config.validate()?;
        let who = format!("node {}", self.advertised);
        let coordinators = self.config.cluster.coordinators.clone();
        let call = || Caller::new(coordinators.clone(), secret.clone(), &who);
        let mut caller = call();
        let memory = memory::make_blank(&self.config.node)?;
        let incarnation = Incarnation(random());
        let offer = Registration {
            incarnation,
            address: self.advertised.clone(),
            domain: self.config.node.domain.clone().unwrap_or_else(|| host_of(&self.advertised).to_owned()),
            memory_len: memory.len(),
        };
        let registered = register(&mut caller, &offer)?;
        let lease = registered.lease;
        let config = self.config.clone();
        let mut daemon = self.serve_as(registered.map, registered.node, memory, incarnation, secret)?;
        daemon.core.service.links().set_lease(registered.lease_until);
        let tasks = Arc::<Tasks>::default();
        let dial = dial_options(&config, secret, &who, lease);
        {
            let (core, tasks) = (daemon.core.clone(), tasks.clone());
            daemon.spawn("farrow-heartbeat", move || {
                beat(&core.service, &tasks, &core.ending, &mut caller, lease);
                if let Some(cause) = core.ending.cause() {
                    core.halt(cause);
                }
            })?;
        }
        {
            let (core, peers) = (daemon.core.clone(), Peers::new(dial.clone()));
            daemon.spawn("farrow-lease", move || keep(&core.service, &core.ending, peers, lease))?;
        }
        let (ready, are_ready) = channel();
        let (frozen, were_frozen) = channel();
        let mut agents: Vec<(Role, &str, Agent)> = vec![
            (Role::Urgent, "farrow-urgent", Box::new(agent::urgent)),
            (
                Role::Background,
                "farrow-background",
                Box::new(move |g, t, e| agent::background(g, t, e, &ready, &were_frozen)),
            ),
            (
                Role::Freeze,
                "farrow-freeze",
                Box::new(move |g, t, e| agent::freeze(g, t, e, &are_ready, &frozen)),
            ),
        ];
        if config.node.populate {
            agents.push((Role::Near, "farrow-near", Box::new(agent::bring_near)));
        }
        for (role, name, work) in agents {
            let (core, tasks, dial, caller) = (daemon.core.clone(), tasks.clone(), dial.clone(), call());
            // A fabric belongs to the thread that makes it.
            daemon.spawn(name, move || {
                let ground = Ground::new(core.service.clone(), tasks.clone(), caller, dial, lease, role);
                match ground {
                    Ok(ground) => work(&ground, &tasks, &core.ending),
                    Err(why) => tracing::error!(why, "this node carries out no orders"),
                }
            })?;
        }
        Ok(daemon)
    }

    /// Makes and formats the memory, and serves as the member of `nodes` that is [`Bound::advertised`].
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running, and the address is free again.
    pub fn serve(mut self, nodes: &[String], secret: &Secret) -> Result<Daemon, StartError> {
        self.config.cluster.nodes = nodes.to_vec();
        self.config.validate()?;
        let is_self = |node: &String| node.eq_ignore_ascii_case(&self.advertised);
        let Some(index) = nodes.iter().position(is_self) else {
            return Err(StartError::NotListed { advertised: self.advertised, nodes: nodes.to_vec() });
        };
        let map = ClusterMap::of(&shape(&self.config))?;
        // A cluster has at most 65535 homes, and each node is the primary of some.
        let node = NodeId(index as u16);
        let memory = memory::make(&self.config.node, &map, node)?;
        self.serve_as(map, node, memory, Incarnation(random()), secret)
    }

    fn serve_as(
        self,
        map: ClusterMap,
        node: NodeId,
        memory: NodeMemory,
        incarnation: Incarnation,
        secret: &Secret,
    ) -> Result<Daemon, StartError> {
        let shm_socket = self.listeners.shm_socket();
        let service = Service::start(&self.config, map, node, memory, incarnation, shm_socket)?;
        let max_sessions = (self.config.node.max_clients + MOST_AGENTS) as usize + SESSIONS_FOR_TOOLS;
        let core = Arc::new(Core {
            service: Arc::new(service),
            secret: secret.clone(),
            listeners: self.listeners,
            sessions: Sessions::new(max_sessions),
            ending: Arc::default(),
        });
        let mut daemon = Daemon { core, advertised: self.advertised, threads: Vec::new() };
        for (door, name) in [(Door::Tcp, "farrow-tcp"), (Door::Unix, "farrow-unix")] {
            let core = daemon.core.clone();
            daemon.spawn(name, move || accept(&core, door))?;
        }
        daemon.log_start();
        Ok(daemon)
    }
}

impl Daemon {
    /// Takes the address of `node.listen`, before anything else is touched: no two daemons get beyond this with one
    /// address.
    ///
    /// # Errors
    /// The configuration is not valid, or the address cannot be had.
    pub fn bind(config: &Config) -> Result<Bound, StartError> {
        config.validate()?;
        let listeners = Listeners::bind(&config.node.listen)?;
        let advertised = match &config.node.advertise {
            Some(advertise) => advertise.clone(),
            None => with_port(&config.node.listen, listeners.address().port()),
        };
        Ok(Bound { config: config.clone(), listeners, advertised })
    }

    /// Starts the node that `config` describes: in a coordinated cluster if `cluster.coordinators` names any, otherwise as a
    /// member of `cluster.nodes`; without such a list it is a cluster by itself.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start(config: &Config, secret: &Secret) -> Result<Daemon, StartError> {
        let bound = Daemon::bind(config)?;
        if !config.cluster.coordinators.is_empty() {
            return bound.join(secret);
        }
        let nodes = match config.cluster.nodes.as_slice() {
            [] => vec![bound.advertised.clone()],
            nodes => nodes.to_vec(),
        };
        bound.serve(&nodes, secret)
    }

    /// Its place in the cluster map.
    pub fn node(&self) -> NodeId {
        self.core.service.node()
    }

    /// The address that clients dial.
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.core.listeners.address()
    }

    /// The abstract name of the Unix socket where clients of this host get shared memory.
    pub fn shm_socket(&self) -> &str {
        self.core.listeners.shm_socket()
    }

    /// The cluster as this node knows it.
    pub fn map(&self) -> ClusterMap {
        self.core.service.map()
    }

    /// Everything the node can tell about itself.
    pub fn stats(&self) -> NodeStats {
        self.core.service.stats()
    }

    /// Serves until SIGTERM or SIGINT or until the cluster goes on without it, then stops. Tells systemd when it is ready and when
    /// it stops. A second signal ends the process at once.
    ///
    /// # Errors
    /// The daemon met a fault in itself and has stopped.
    pub fn wait(self) -> Result<Ended, Failed> {
        let ready = || notify(READY);
        let cause = match wait_for_signals(&self.core.ending, ready) {
            Ok(cause) => cause,
            Err(error) => Cause::Fault(format!("cannot wait for signals: {error}")),
        };
        if cause != Cause::Asked(Asked::Deposed) {
            notify(STOPPING);
        }
        if let Cause::Signal(signal) = cause {
            tracing::info!(signal, "told to stop");
        }
        self.stop();
        match cause {
            Cause::Asked(Asked::ByOwner) | Cause::Signal(_) => Ok(Ended::Stopped),
            Cause::Asked(Asked::Deposed) => Ok(Ended::Deposed),
            Cause::Fault(why) => Err(Failed { why }),
        }
    }

    /// Stops: links fail, sessions end, the memory is given back. Returns when all of that is done.
    pub fn stop(self) {
        drop(self);
    }

    fn spawn(&mut self, name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let core = self.core.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || core.guard(work));
        self.threads.push(thread.map_err(|source| StartError::System { what: "start a thread", source })?);
        Ok(())
    }

    fn log_start(&self) {
        let memory = self.core.service.links().memory();
        let map = self.map();
        tracing::info!(
            node = %self.node(),
            address = self.advertised,
            cluster = map.name,
            nodes = map.nodes.len(),
            policy = %map.geometry.policy,
            memory = memory.pages().note,
            "serving"
        );
        for transport in self.core.service.links().describe(self.shm_socket()) {
            tracing::info!("{transport}");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.core.halt(Cause::Asked(Asked::ByOwner));
        for thread in self.threads.drain(..) {
            // What a thread has to say of its panic, it has said.
            let _ = thread.join();
        }
        self.core.sessions.join();
        tracing::info!(address = self.advertised, "stopped");
    }
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = f.debug_struct("Daemon");
        it.field("node", &self.node()).field("advertised", &self.advertised).finish_non_exhaustive()
    }
}

impl Core {
    /// Ends everything that serves, without waiting for it.
    fn halt(&self, cause: Cause<Asked>) {
        self.ending.tell(cause);
        self.listeners.close();
        // Links first: their clients should learn it from them, not from a session that ended.
        self.service.links().close();
        self.sessions.close();
    }

    /// Runs a part of the daemon. A panic in it ends the daemon: a lock may be held by nobody, and memory that is handed out
    /// on a wrong state is worse than a node that is gone.
    fn guard(&self, part: impl FnOnce()) {
        if let Some(why) = caught(part) {
            self.halt(Cause::Fault(why));
        }
    }
}

fn accept(core: &Arc<Core>, door: Door) {
    while !core.ending.is_told() {
        let entered = core.listeners.accept(door).and_then(|wire| {
            let core = core.clone();
            core.sessions.clone().enter(wire, move |wire, ticket| {
                core.guard(|| session::serve(&core.service, &core.secret, &wire, &ticket));
                // The memory must be given back when the last seat is.
                drop(core);
                drop(ticket);
            })
        });
        match entered {
            Ok(()) => {}
            Err(_) if core.ending.is_told() => {}
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot take a connection; trying again");
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// The connection was gone before it was taken: nothing to worry about.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted | Kind::NotConnected
    )
}

fn shape(config: &Config) -> Shape {
    let cluster = &config.cluster;
    Shape {
        name: cluster.name.clone(),
        commit: match cluster.commit {
            Commit::Colocated => CommitKind::Colocated,
            Commit::Snapshot => CommitKind::Snapshot,
        },
        policy: cluster.policy,
        nodes: cluster.nodes.clone(),
        homes_per_node: u16::try_from(cluster.homes_per_node).expect("validated: at most 64"),
        max_keys: cluster.max_keys,
        memory_len: config.node.memory,
        block_len: cluster.block_size,
        extent_len: cluster.extent_size,
    }
}

/// How a node dials others. They are on the same fabric, so they are reached as clients reach them.
fn dial_options(config: &Config, secret: &Secret, who: &str, lease: Duration) -> DialOptions {
    // Whoever insists on a transport says so to the clients: an agent takes what there is.
    DialOptions { require: Require::None, ..DialOptions::of(config, secret.clone(), who, lease / 4) }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_ends_the_whole_daemon() {
        let mut config = Config::default();
        config.cluster.policy = farrow_config::Policy::Replicate { copies: 1 };
        config.cluster.max_keys = 100;
        config.node.listen = "127.0.0.1:0".to_owned();
        config.node.memory = 8 << 20;
        config.node.hugepages = farrow_config::Hugepages::Off;
        let secret = Secret::from_bytes("the secret of this test's cluster").unwrap();
        let daemon = Daemon::start(&config, &secret).unwrap();
        let mut connected = std::net::TcpStream::connect(daemon.address()).unwrap();

        daemon.core.guard(|| panic!("as if a lock's holder had panicked"));

        let why = "as if a lock's holder had panicked".to_owned();
        assert_eq!(daemon.core.ending.wait(), Cause::Fault(why.clone()));
        assert!(std::net::TcpStream::connect(daemon.address()).is_err());
        let ended = std::io::Read::read(&mut connected, &mut [0; 1]);
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
        assert_eq!(daemon.wait(), Err(Failed { why }));
    }
}
