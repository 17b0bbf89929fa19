//! How a daemon starts, and why it does not.

mod common;

use common::{config, dial, node, secret};
use farrow_config::{Config, Require, Transport};
use farrow_control::{Channel, Error, Limits, Secret};
use farrow_layout::{NodeId, Policy};
use farrow_node::{Daemon, Embedded, StartError};
use std::net::TcpStream;
use std::path::Path;

fn refused(config: &Config) -> StartError {
    Daemon::start(config, &secret()).expect_err("it started")
}

#[test]
fn a_single_node_is_a_cluster_by_itself() {
    let daemon = node();
    let welcome = dial(&daemon).hello();
    assert_eq!(welcome.node, NodeId(0));
    assert_eq!(welcome.map.nodes.len(), 1);
    assert_eq!(welcome.map.nodes[0].address, daemon.address().to_string());
    assert_eq!(welcome.map.defect(), None);
    assert_eq!(welcome.shm_socket.as_deref(), Some(daemon.shm_socket()));
    assert_eq!(welcome.boot_id.len(), 36);
    assert!(welcome.rdma.is_empty() && !welcome.rdma_note.is_empty());
}

#[test]
fn two_daemons_do_not_share_a_port() {
    let first = node();
    let mut config = config();
    config.node.listen = first.address().to_string();
    let error = refused(&config);
    assert!(matches!(error, StartError::AddressInUse { .. }), "{error}");
    assert!(error.to_string().contains("another daemon is listening on 127.0.0.1:"), "{error}");
    let welcome = dial(&first).hello();
    assert_eq!(welcome.node, NodeId(0), "the first one does not notice");
    first.stop();
    let again = Daemon::start(&config, &secret()).expect("the address is free again");
    assert_eq!(again.advertised(), config.node.listen);
}

#[test]
fn a_daemon_that_did_not_start_leaves_its_address() {
    let mut failing = config();
    failing.cluster.max_keys = 1 << 30;
    let bound = Daemon::bind(&failing).unwrap();
    let address = bound.advertised().to_owned();
    let error = bound.serve(std::slice::from_ref(&address), &secret()).unwrap_err();
    assert!(error.to_string().contains("give nodes more memory, or lower cluster.max_keys"), "{error}");
    let mut config = config();
    config.node.listen = address;
    Daemon::start(&config, &secret()).unwrap();
}

#[test]
fn a_node_that_is_not_listed_says_so() {
    let mut config = config();
    config.cluster.nodes = vec!["a:1".into(), "b:2".into()];
    let error = refused(&config);
    assert!(matches!(error, StartError::NotListed { .. }), "{error}");
    assert!(error.to_string().contains("(a:1, b:2)"), "{error}");
    assert!(error.to_string().contains("node.advertise"), "{error}");
}

#[test]
fn advertise_finds_the_place_in_the_list() {
    let mut config = config();
    config.cluster.nodes = vec!["a:1".into(), "Host-B:2".into(), "c:3".into()];
    config.node.advertise = Some("host-b:2".into());
    let daemon = Daemon::start(&config, &secret()).unwrap();
    assert_eq!(daemon.node(), NodeId(1));
}

#[test]
fn impossible_configurations_are_refused() {
    let mut many = config();
    many.cluster.policy = Policy::Replicate { copies: 3 };
    assert!(refused(&many).to_string().contains("replicate:3 needs 3"));

    let mut odd = config();
    odd.cluster.block_size = 100_000;
    assert!(matches!(refused(&odd), StartError::Config(_)));

    let mut huge = config();
    huge.node.memory = 32 << 40;
    let error = refused(&huge);
    assert!(matches!(error, StartError::Memory(_) | StartError::Map(_)), "{error}");

    let mut elsewhere = config();
    elsewhere.node.listen = "192.0.2.1:7400".into();
    assert!(matches!(refused(&elsewhere), StartError::Listen { .. }));

    let mut rdma = config();
    rdma.fabric.require = Require::Rdma;
    let error = refused(&rdma);
    assert!(matches!(error, StartError::Required { transport: "rdma", .. }), "{error}");
    rdma.fabric.require = Require::None;
    rdma.fabric.transport = Transport::Rdma;
    assert!(matches!(refused(&rdma), StartError::Required { .. }));
}

#[test]
fn another_secret_is_not_let_in() {
    let daemon = node();
    let other = Secret::from_bytes("the secret of another cluster....").unwrap();
    let stream = TcpStream::connect(daemon.address()).unwrap();
    let error = Channel::connect(stream, &other, Limits::default()).unwrap_err();
    assert!(matches!(error, Error::WrongSecret), "{error}");
    dial(&daemon).hello();
}

#[test]
fn an_embedded_cluster_agrees_on_its_map() {
    let mut config = config();
    config.cluster.policy = Policy::Replicate { copies: 3 };
    config.node.memory = 4 << 20;
    let mut cluster = Embedded::start(&config, 4, &secret()).unwrap();
    let welcomes: Vec<_> = (0..4).map(|i| dial(cluster.node(i).unwrap()).hello()).collect();
    for (i, welcome) in welcomes.iter().enumerate() {
        assert_eq!(welcome.node, NodeId(i as u16));
        assert_eq!(welcome.map.difference(&welcomes[0].map), None);
        assert_eq!(welcome.map.nodes[i].address, cluster.config().cluster.nodes[i]);
    }
    let incarnations: std::collections::HashSet<_> = welcomes.iter().map(|w| w.incarnation).collect();
    assert_eq!(incarnations.len(), 4);
    cluster.config().validate().unwrap();

    let address = cluster.node(2).unwrap().address();
    assert!(cluster.stop_node(2));
    assert!(!cluster.stop_node(2) && cluster.node(2).is_none() && !cluster.stop_node(9));
    assert!(TcpStream::connect(address).is_err());
    dial(cluster.node(3).unwrap()).hello();
}

#[test]
fn connections_wait_between_bind_and_serve() {
    let bound = Daemon::bind(&config()).unwrap();
    let (address, nodes) = (bound.address(), vec![bound.advertised().to_owned()]);
    let early = std::thread::spawn(move || common::Peer::new(TcpStream::connect(address).unwrap()).hello());
    let daemon = bound.serve(&nodes, &secret()).unwrap();
    assert_eq!(early.join().unwrap().incarnation, dial(&daemon).hello().incarnation);
}

/// A directory on tmpfs.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn with_file(path: &Path) -> Config {
    let mut config = config();
    config.node.memory_file = Some(path.to_owned());
    config
}

#[test]
fn a_memory_file_is_not_lost_by_accident() {
    let dir = directory();
    let path = dir.path().join("memory");
    let mut config = with_file(&path);
    let first = Daemon::start(&config, &secret()).unwrap();
    let incarnation = first.stats().incarnation;
    assert!(first.stats().pages.contains("tmpfs"), "{}", first.stats().pages);

    let error = refused(&config);
    assert!(error.to_string().contains("in use by another process"), "{error}");
    config.node.reformat = true;
    let error = refused(&config);
    assert!(error.to_string().contains("in use by another process"), "not even then: {error}");
    first.stop();

    config.node.reformat = false;
    let error = refused(&config);
    assert!(error.to_string().contains("from an earlier run"), "{error}");
    assert!(error.to_string().contains("node.reformat = true"), "{error}");

    config.node.memory *= 2;
    let error = refused(&config);
    assert!(error.to_string().contains("another geometry"), "{error}");
    config.cluster.name = "else".into();
    let error = refused(&config);
    assert!(error.to_string().contains("another cluster than \"else\""), "{error}");

    config.node.reformat = true;
    let anew = Daemon::start(&config, &secret()).unwrap();
    assert_ne!(anew.stats().incarnation, incarnation);
    assert_eq!(anew.stats().memory_len, 4 << 20);
}

#[test]
fn a_file_that_is_not_ours_is_never_overwritten() {
    let dir = directory();
    let path = dir.path().join("thesis.tex");
    let text = "\\documentclass{article}\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let mut config = with_file(&path);
    for reformat in [false, true] {
        config.node.reformat = reformat;
        let error = refused(&config);
        assert!(error.to_string().contains("is not Farrow's"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_memory_file_that_cannot_be_made_says_where() {
    let error = refused(&with_file(Path::new("/nowhere/at/all")));
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}
