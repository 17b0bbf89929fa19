//! Coordinators for tests, and a store that can be broken.
#![allow(dead_code)] // Each test program uses its part.

use farrow_control::Secret;
use farrow_control::coordination::{Ask, Registration, Renewal, Tell};
use farrow_control::map::{CommitKind, Sizes};
use farrow_coordinator::{
    Campaign, CoordinatorServer, FileStore, Options, Settings, State, Store, StoreError,
};
use farrow_layout::{Epoch, Incarnation, NodeId, Policy};
use farrow_transport::Caller;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const LEASE: Duration = Duration::from_millis(400);
/// Longer than anything takes here, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn secret() -> Secret {
    Secret::from_bytes("the secret of this test's cluster").unwrap()
}

pub fn settings(nodes: u16, copies: u8) -> Settings {
    Settings {
        name: "test".into(),
        commit: CommitKind::Colocated,
        sizes: Sizes {
            policy: Policy::Replicate { copies },
            max_keys: 100,
            block_len: 64 << 10,
            extent_len: 16 << 10,
        },
        homes_per_node: 1,
        nodes_to_form: nodes,
        headroom_nodes: 1,
        write_floor: 0,
        lease_ns: LEASE.as_nanos() as u64,
        restore_bytes_per_s: 0,
        coordinators: Vec::new(),
    }
}

pub fn options(dir: &TempDir, file: &str, listen: &str, settings: Settings) -> Options {
    let store = Box::new(FileStore::new(dir.path().join(file)));
    Options { listen: listen.into(), advertise: None, settings, store }
}

pub fn start_with(dir: &TempDir, file: &str, listen: &str, settings: Settings) -> CoordinatorServer {
    CoordinatorServer::start(options(dir, file, listen, settings), &secret()).unwrap()
}

pub fn start_at(dir: &TempDir, file: &str, listen: &str) -> CoordinatorServer {
    start_with(dir, file, listen, settings(1, 1))
}

pub fn start(dir: &TempDir, file: &str) -> CoordinatorServer {
    start_at(dir, file, "127.0.0.1:0")
}

pub fn caller(coordinators: &[&str]) -> Caller {
    Caller::new(coordinators.iter().map(|c| c.to_string()).collect(), secret(), "test")
}

pub fn register(caller: &mut Caller, life: u64) -> NodeId {
    let offer = Registration {
        incarnation: Incarnation(life),
        address: format!("node-{life}:7400"),
        domain: format!("node-{life}"),
        memory_len: 8 << 20,
    };
    match caller.call(&Ask::Register(offer), PATIENCE).unwrap() {
        Tell::Registered { node, .. } => node,
        other => panic!("{other:?}"),
    }
}

pub fn renewal(node: NodeId, life: u64, epoch: Epoch) -> Ask {
    Ask::Renew(Renewal {
        node,
        incarnation: Incarnation(life),
        epoch,
        progress: Vec::new(),
        orphans: Vec::new(),
    })
}

pub fn wait_until(mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "it never became so");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A store that several coordinators share and that tests break.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    state: Option<State>,
    leader: Option<String>,
    is_broken: bool,
    is_slow: bool,
    term: Option<Duration>,
}

impl Shelf {
    pub fn set_broken(&self, is_broken: bool) {
        self.0.lock().unwrap().is_broken = is_broken;
    }

    /// What is to be stored waits for the end of this.
    pub fn set_slow(&self, is_slow: bool) {
        self.0.lock().unwrap().is_slow = is_slow;
    }

    pub fn set_term(&self, term: Option<Duration>) {
        self.0.lock().unwrap().term = term;
    }

    pub fn next_client(&self) -> u32 {
        self.0.lock().unwrap().state.as_ref().unwrap().next_client
    }

    pub fn depose(&self) {
        self.0.lock().unwrap().leader = None;
    }
}

pub fn start_on(shelf: &Shelf, name: &str) -> CoordinatorServer {
    // Whoever follows says where the leader listens, so that has to be known before.
    let listen = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let store = Box::new(Place { shelf: shelf.clone(), name: listen.clone() });
    let options = Options { listen, advertise: None, settings: settings(1, 1), store };
    CoordinatorServer::start(options, &secret()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

struct Place {
    shelf: Shelf,
    name: String,
}

impl Place {
    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Inside>, StoreError> {
        let inside = self.shelf.0.lock().unwrap();
        match inside.is_broken {
            true => Err(StoreError::Failed("it is broken".into())),
            false => Ok(inside),
        }
    }
}

impl Store for Place {
    fn describe(&self) -> String {
        "a shelf".into()
    }

    fn campaign(&mut self, _: &str) -> Result<Campaign, StoreError> {
        let name = self.name.clone();
        let mut inside = self.lock()?;
        match &inside.leader {
            Some(leader) if *leader != name => Ok(Campaign::Follows(Some(leader.clone()))),
            _ => {
                inside.leader = Some(name);
                Ok(Campaign::Leads(inside.state.clone().map(Box::new)))
            }
        }
    }

    fn keep(&mut self) -> Result<Option<Duration>, StoreError> {
        let inside = self.lock()?;
        match inside.leader.as_deref() == Some(&self.name) {
            true => Ok(inside.term),
            false => Err(StoreError::Deposed),
        }
    }

    fn store(&mut self, state: &State) -> Result<(), StoreError> {
        while self.shelf.0.lock().unwrap().is_slow {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut inside = self.lock()?;
        match inside.leader.as_deref() == Some(&self.name) {
            true => {
                inside.state = Some(state.clone());
                Ok(())
            }
            false => Err(StoreError::Deposed),
        }
    }

    fn resign(&mut self) {
        if let Ok(mut inside) = self.lock()
            && inside.leader.as_deref() == Some(&self.name)
        {
            inside.leader = None;
        }
    }
}
