//! Nodes of a coordinated cluster, in this process: they come in, one is lost, another takes its place.

use farrow_config::{Config, Hugepages, Policy};
use farrow_control::Secret;
use farrow_control::coordination::{Ask, CoordinatorStatus, Tell};
use farrow_control::map::{CommitKind, Sizes};
use farrow_coordinator::{CoordinatorServer, FileStore, Options, Settings};
use farrow_node::Daemon;
use farrow_transport::Caller;
use std::thread;
use std::time::{Duration, Instant};

const LEASE: Duration = Duration::from_millis(300);

struct World {
    coordinator: Option<CoordinatorServer>,
    directory: tempfile::TempDir,
    address: String,
    secret: Secret,
}

impl World {
    fn new() -> World {
        let secret = Secret::from_bytes("the secret of this test's cluster").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut world = World { coordinator: None, directory, address: "127.0.0.1:0".into(), secret };
        world.start_coordinator();
        world
    }

    fn start_coordinator(&mut self) {
        let policy = Policy::Replicate { copies: 2 };
        let settings = Settings {
            name: "test".into(),
            commit: CommitKind::Colocated,
            sizes: Sizes { policy, max_keys: 2000, block_len: 64 << 10, extent_len: 16 << 10 },
            homes_per_node: 2,
            nodes_to_form: 3,
            headroom_nodes: 1,
            write_floor: 0,
            lease_ns: LEASE.as_nanos() as u64,
            restore_bytes_per_s: 0,
            coordinators: Vec::new(),
        };
        let store = Box::new(FileStore::new(self.directory.path().join("state")));
        let options = Options { listen: self.address.clone(), advertise: None, settings, store };
        let server = CoordinatorServer::start(options, &self.secret).unwrap();
        self.address = server.address().to_string();
        self.coordinator = Some(server);
    }

    fn node(&self) -> thread::JoinHandle<Daemon> {
        let mut config = Config::default();
        config.cluster.coordinators = vec![self.address.clone()];
        config.node.listen = "127.0.0.1:0".into();
        config.node.memory = 16 << 20;
        config.node.hugepages = Hugepages::Off;
        let secret = self.secret.clone();
        thread::spawn(move || Daemon::start(&config, &secret).unwrap())
    }

    fn nodes(&self, count: usize) -> Vec<Daemon> {
        let starting: Vec<_> = (0..count).map(|_| self.node()).collect();
        starting.into_iter().map(|node| node.join().unwrap()).collect()
    }

    fn status(&self) -> CoordinatorStatus {
        let mut caller = Caller::new(vec![self.address.clone()], self.secret.clone(), "test");
        match caller.call(&Ask::Status, Duration::from_secs(5)).unwrap() {
            Tell::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&CoordinatorStatus) -> bool) -> CoordinatorStatus {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if is_so(&status) {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "not so after 20 s: {what}: {status:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn is_whole(status: &CoordinatorStatus) -> bool {
    let map = &status.map;
    status.orders.is_empty() && map.homes.iter().all(|home| home.is_open && map.missing(home) == 0)
}

#[test]
fn a_lost_node_is_passed_over_and_its_copies_are_made_on_the_others() {
    let world = World::new();
    let mut nodes = world.nodes(3);
    let before = world.wait_until("the cluster has formed", is_whole);
    assert_eq!(before.map.homes.len(), 6);
    nodes.push(world.node().join().unwrap());

    let lost = nodes.remove(0);
    let (id, begun) = (lost.node(), Instant::now());
    lost.stop();
    let after = world.wait_until("it is passed over and all copies are there", |status| {
        !status.map.node(id).unwrap().is_up() && is_whole(status)
    });
    println!("whole again after {:?}, lease {LEASE:?}: {:?}", begun.elapsed(), after.counts);
    assert!(after.map.homes.iter().all(|home| !home.has_member(id)));
    assert!(after.counts.members_restored >= 4, "{:?}", after.counts);
    assert!(after.map.epoch > before.map.epoch);
}

#[test]
fn nodes_serve_on_without_a_coordinator_and_it_finds_them_as_they_were() {
    let mut world = World::new();
    let nodes = world.nodes(3);
    let before = world.wait_until("the cluster has formed", is_whole);
    world.coordinator.take().unwrap().stop();
    thread::sleep(LEASE * 4);
    for node in &nodes {
        let session =
            farrow_transport::Session::dial_control(node.advertised(), &dial(&world.secret)).unwrap();
        let left = session.renew_lease().unwrap().expect("leases end");
        assert!(left > Duration::ZERO, "{} has no lease", node.node());
    }
    world.start_coordinator();
    thread::sleep(LEASE * 2);
    let after = world.status();
    assert_eq!(after.map.homes, before.map.homes, "nothing was lost, nobody was passed over");
    assert_eq!(after.counts.nodes_lost, 0);
}

fn dial(secret: &Secret) -> farrow_transport::DialOptions {
    farrow_transport::DialOptions {
        secret: secret.clone(),
        preference: farrow_transport::Preference::Auto,
        require: farrow_transport::Require::None,
        who: "test".into(),
        timeout: Duration::from_secs(1),
        rdma: farrow_transport::Rdma::new(None, None, None, 16, 0),
    }
}
