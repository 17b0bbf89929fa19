//! Several coordinators that share a real etcd. Without `etcd` on the PATH these tests say so and pass.

mod common;

use common::*;
use farrow_control::coordination::{Ask, ProcessId, Tell};
use farrow_coordinator::{Campaign, CoordinatorServer, EtcdStore, Options, Store, StoreError};
use farrow_layout::{ClientId, NodeId};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A server of etcd with a folder of its own.
struct Etcd {
    child: Child,
    url: String,
    arguments: Vec<String>,
    _dir: TempDir,
}

impl Etcd {
    /// None where it is not installed.
    fn start() -> Option<Etcd> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        {
            eprintln!("SKIPPED: etcd is not installed (Debian: etcd-server)");
            return None;
        }
        let held = [0, 0].map(|_: i32| TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = held.map(|held| format!("http://{}", held.local_addr().unwrap()));
        let dir = tempfile::tempdir().unwrap();
        let arguments = [
            ("--name", "one"),
            ("--data-dir", dir.path().to_str().unwrap()),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("one={peer}")),
        ];
        let arguments: Vec<String> =
            arguments.iter().flat_map(|(a, b)| [a.to_string(), b.to_string()]).collect();
        let mut etcd = Etcd { child: run(&arguments), url: client, arguments, _dir: dir };
        etcd.wait_until_there();
        Some(etcd)
    }

    fn wait_until_there(&mut self) {
        // Elected, that is, and not only listening: a campaign writes.
        let url = self.url.clone();
        wait_until(move || EtcdStore::new(vec![url.clone()], "probe").campaign("probe").is_ok());
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn restart(&mut self) {
        self.child = run(&self.arguments);
        self.wait_until_there();
    }

    fn store(&self) -> EtcdStore {
        // One server that never answers must not stand in the way.
        EtcdStore::new(vec!["http://127.0.0.1:1".into(), self.url.clone()], "test")
    }

    fn coordinator(&self) -> CoordinatorServer {
        let (listen, settings) = ("127.0.0.1:0".into(), settings(1, 1));
        let options = Options { listen, advertise: None, settings, store: Box::new(self.store()) };
        CoordinatorServer::start(options, &secret()).unwrap()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(arguments: &[String]) -> Child {
    let mut command = Command::new("etcd");
    command.args(arguments).env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn state() -> farrow_coordinator::State {
    let it = farrow_coordinator::Coordinator::new(settings(1, 1), farrow_coordinator::Instant(0));
    it.state().clone()
}

#[test]
fn only_the_one_that_leads_writes_and_the_next_one_reads_it() {
    let Some(etcd) = Etcd::start() else { return };
    let (mut one, mut two) = (etcd.store(), etcd.store());
    assert_eq!(one.campaign("one:1"), Ok(Campaign::Leads(None)));
    assert_eq!(two.campaign("two:1"), Ok(Campaign::Follows(Some("one:1".into()))));
    assert_eq!(two.store(&state()), Err(StoreError::Deposed));
    let term = one.keep().unwrap().unwrap();
    assert!((2..=3).contains(&term.as_secs()), "{term:?}");
    let mut written = state();
    written.next_client = 7;
    one.store(&written).unwrap();
    assert_eq!(
        one.campaign("one:1"),
        Ok(Campaign::Leads(Some(Box::new(written.clone())))),
        "it may ask again"
    );
    one.resign();
    assert_eq!(two.campaign("two:1"), Ok(Campaign::Leads(Some(Box::new(written)))));
    assert_eq!(one.store(&state()), Err(StoreError::Deposed));
    assert_eq!(one.keep(), Err(StoreError::Deposed));
}

#[test]
fn one_that_was_passed_over_while_it_slept_stores_nothing() {
    let Some(etcd) = Etcd::start() else { return };
    let (mut one, mut two) = (etcd.store(), etcd.store());
    one.campaign("one:1").unwrap();
    one.store(&state()).unwrap();
    // It says nothing for longer than its term.
    wait_until(|| matches!(two.campaign("two:1"), Ok(Campaign::Leads(_))));
    let mut late = state();
    late.next_client = 99;
    assert_eq!(one.store(&late), Err(StoreError::Deposed));
    assert_eq!(one.keep(), Err(StoreError::Deposed));
    assert_eq!(two.campaign("two:1"), Ok(Campaign::Leads(Some(Box::new(state())))));
}

#[test]
fn when_the_leader_stops_another_one_goes_on_and_nothing_is_lost() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, two) = (etcd.coordinator(), etcd.coordinator());
    assert!(one.leads() && !two.leads());
    let mut node = caller(&[two.advertised(), one.advertised()]);
    assert_eq!(register(&mut node, 1), NodeId(0));
    let new_client = Ask::NewClient { process: ProcessId(1) };
    assert_eq!(node.call(&new_client, PATIENCE).unwrap(), Tell::Client(ClientId(1)));
    one.stop();
    wait_until(|| two.leads());
    node.disconnect();
    assert_eq!(node.call(&new_client, PATIENCE).unwrap(), Tell::Client(ClientId(2)));
    assert_eq!(register(&mut node, 1), NodeId(0));
}

#[test]
fn while_etcd_is_away_nothing_is_decided_and_it_goes_on_behind() {
    let Some(mut etcd) = Etcd::start() else { return };
    let server = etcd.coordinator();
    let mut node = caller(&[server.advertised()]);
    register(&mut node, 1);
    let new_client = Ask::NewClient { process: ProcessId(1) };
    assert_eq!(node.call(&new_client, PATIENCE).unwrap(), Tell::Client(ClientId(1)));
    etcd.stop();
    assert!(node.call(&new_client, PATIENCE).is_err());
    wait_until(|| !server.leads());
    etcd.restart();
    wait_until(|| server.leads());
    node.disconnect();
    assert_eq!(node.call(&new_client, PATIENCE).unwrap(), Tell::Client(ClientId(2)));
}

#[test]
fn a_coordinator_starts_though_etcd_is_not_there_yet_and_leads_nobody() {
    let store = Box::new(EtcdStore::new(vec!["http://127.0.0.1:1".into()], "test"));
    let options = Options { listen: "127.0.0.1:0".into(), advertise: None, settings: settings(1, 1), store };
    let server = CoordinatorServer::start(options, &secret()).unwrap();
    assert!(!server.leads());
    let refused = caller(&[server.advertised()]).call(&Ask::Status, PATIENCE).unwrap_err();
    assert!(refused.to_string().contains("does not lead"), "{refused}");
}
