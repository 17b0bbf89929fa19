//! Coordinators as nodes and clients meet them: over TCP.

mod common;

use common::*;
use farrow_control::coordination::{Ask, Decision, Denial, ProcessId, Tell};
use farrow_coordinator::{CoordinatorServer, FileStore, StartError};
use farrow_layout::{ClientId, Epoch, NodeId};
use farrow_transport::CallError;
use std::time::{Duration, Instant};

#[test]
fn nodes_register_and_whoever_waits_hears_of_the_map_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "state");
    let address = server.advertised().to_owned();
    let waiting = std::thread::spawn(move || {
        let mut client = caller(&[&address]);
        let watch = Ask::Watch { process: ProcessId(1), who: "test".into(), epoch: Epoch(0) };
        loop {
            match client.call(&watch, PATIENCE).unwrap() {
                Tell::News(news) if news.map.is_some() => return (news.map.unwrap(), Instant::now()),
                Tell::News(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    std::thread::sleep(LEASE / 8);
    let mut node = caller(&[server.advertised()]);
    assert_eq!(register(&mut node, 1), NodeId(0));
    let formed = Instant::now();
    let (map, heard) = waiting.join().unwrap();
    assert_eq!((map.epoch, map.homes.len(), map.coordinators.len()), (Epoch(1), 1, 1));
    assert!(heard.saturating_duration_since(formed) < LEASE / 8, "it did not wait for its turn");
    assert_eq!(node.lease(), Some(LEASE));
}

#[test]
fn a_poll_without_news_is_answered_after_a_quarter_of_a_lease() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "state");
    let mut node = caller(&[server.advertised()]);
    register(&mut node, 1);
    let asked = Instant::now();
    let Tell::News(news) = node.call(&renewal(NodeId(0), 1, Epoch(1)), PATIENCE).unwrap() else { panic!() };
    assert_eq!((news.map, news.orders), (None, vec![]));
    assert!(asked.elapsed() >= LEASE / 5);
}

#[test]
fn a_restart_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "state");
    let mut node = caller(&[server.advertised()]);
    register(&mut node, 1);
    let process = ProcessId(5);
    let first = node.call(&Ask::NewClient { process }, PATIENCE).unwrap();
    assert_eq!(first, Tell::Client(ClientId(1)));
    let address = server.advertised().to_owned();
    server.stop();
    assert!(matches!(node.call(&Ask::NewClient { process }, PATIENCE), Err(CallError::NoAnswer { .. })));
    assert!(matches!(node.call(&Ask::NewClient { process }, LEASE), Err(CallError::NoLeader { .. })));
    let server = start_at(&dir, "state", &address);
    assert_eq!(register(&mut node, 1), NodeId(0), "the node is who it was");
    assert_eq!(node.call(&Ask::NewClient { process }, PATIENCE).unwrap(), Tell::Client(ClientId(2)));
    drop(server);
}

#[test]
fn a_node_that_says_nothing_is_lost_and_the_next_one_is_told_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(2, 2);
    settings.homes_per_node = 1;
    let server = start_with(&dir, "state", "127.0.0.1:0", settings);
    let (mut a, mut b) = (caller(&[server.advertised()]), caller(&[server.advertised()]));
    let since = Instant::now();
    register(&mut a, 1);
    register(&mut b, 2);
    let mut epoch = Epoch(0);
    let order = loop {
        let Tell::News(news) = a.call(&renewal(NodeId(0), 1, epoch), PATIENCE).unwrap() else { panic!() };
        epoch = news.map.map_or(epoch, |map| map.epoch);
        if let Some(order) = news.orders.first() {
            break order.clone();
        }
        assert!(since.elapsed() < PATIENCE);
    };
    assert!(since.elapsed() >= LEASE);
    let close = Ask::Close { agent: NodeId(0), orders: vec![order.id] };
    let Tell::Closed { epoch, map } = a.call(&close, PATIENCE).unwrap() else { panic!() };
    assert!(map.homes.iter().all(|home| home.members.len() == 1 && !home.is_open && home.epoch == epoch));
    let publish = Ask::Publish { agent: NodeId(0), orders: vec![order.id], epoch };
    assert_eq!(a.call(&publish, PATIENCE).unwrap(), Tell::Done);
    let again = a.call(&publish, PATIENCE).unwrap_err();
    assert_eq!(again.denial(), Some(&Denial::NotYours(order.id)));
    let deposed = b.call(&renewal(NodeId(1), 2, Epoch(1)), PATIENCE).unwrap_err();
    assert_eq!(deposed.denial(), Some(&Denial::Deposed(NodeId(1))));
    let Tell::Status(status) = a.call(&Ask::Status, PATIENCE).unwrap() else { panic!() };
    assert_eq!((status.counts.nodes_lost, status.counts.views_changed), (1, 1));
    assert!(status.store.contains("file"));
    let unreachable =
        Ask::Unreachable { process: ProcessId(1), node: NodeId(1), for_ns: 0, why: "test".into() };
    assert_eq!(b.call(&unreachable, PATIENCE).unwrap(), Tell::Decided(Decision::Deposing));
}

#[test]
fn it_stops_at_once_though_somebody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "state");
    let mut node = caller(&[server.advertised()]);
    register(&mut node, 1);
    let waiting = std::thread::spawn(move || node.call(&renewal(NodeId(0), 1, Epoch(1)), PATIENCE).is_err());
    std::thread::sleep(LEASE / 10);
    let told = Instant::now();
    server.stop();
    assert!(told.elapsed() < Duration::from_secs(2));
    assert!(waiting.join().unwrap());
}

#[test]
fn strangers_and_other_secrets_are_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir, "state");
    let mut stranger = farrow_transport::Caller::new(
        vec![server.advertised().to_owned()],
        farrow_control::Secret::from_bytes("another secret of another cluster").unwrap(),
        "test",
    );
    let why = stranger.call(&Ask::Status, PATIENCE).unwrap_err().to_string();
    assert!(why.contains("another cluster secret"), "{why}");
}

#[test]
fn a_state_that_cannot_be_used_is_no_reason_to_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state"), "rubbish").unwrap();
    let refused = CoordinatorServer::start(options(&dir, "state", "127.0.0.1:0", settings(1, 1)), &secret());
    assert!(matches!(refused, Err(StartError::Store(_))));
    drop(start(&dir, "good"));
    let mut other = settings(1, 1);
    other.name = "other".into();
    let refused = CoordinatorServer::start(options(&dir, "good", "127.0.0.1:0", other), &secret());
    assert!(refused.unwrap_err().to_string().contains("cluster.name"));
    let again = FileStore::new(dir.path().join("good"));
    drop(again);
    start(&dir, "good");
}

#[test]
fn what_cannot_be_stored_has_not_happened() {
    let shelf = Shelf::default();
    let server = start_on(&shelf, "one");
    let mut node = caller(&[server.advertised()]);
    register(&mut node, 1);
    shelf.set_broken(true);
    let refused = node.call(&Ask::NewClient { process: ProcessId(1) }, PATIENCE).unwrap_err();
    assert!(matches!(refused.denial(), Some(Denial::Store(_))), "{refused}");
    // What changes nothing goes on.
    node.call(&renewal(NodeId(0), 1, Epoch(0)), PATIENCE).unwrap();
    shelf.set_broken(false);
    let first = node.call(&Ask::NewClient { process: ProcessId(1) }, PATIENCE).unwrap();
    assert_eq!(first, Tell::Client(ClientId(1)));
}

#[test]
fn a_slow_store_costs_nobody_a_lease_and_lets_nothing_out_before_it_is_stored() {
    let shelf = Shelf::default();
    let server = start_on(&shelf, "one");
    let mut node = caller(&[server.advertised()]);
    register(&mut node, 1);
    shelf.set_slow(true);
    let address = server.advertised().to_owned();
    let asking = std::thread::spawn(move || {
        caller(&[&address]).call(&Ask::NewClient { process: ProcessId(1) }, PATIENCE).unwrap()
    });
    let since = Instant::now();
    while since.elapsed() < 2 * LEASE {
        let Tell::News(news) = node.call(&renewal(NodeId(0), 1, Epoch(1)), LEASE).unwrap() else { panic!() };
        assert_eq!((news.map, news.orders), (None, vec![]));
    }
    assert!(!asking.is_finished(), "an id that is not stored yet may be given to two");
    shelf.set_slow(false);
    assert_eq!(asking.join().unwrap(), Tell::Client(ClientId(1)));
    assert_eq!(shelf.next_client(), 2);
}

#[test]
fn of_two_coordinators_one_leads_and_the_other_says_so() {
    let shelf = Shelf::default();
    let one = start_on(&shelf, "one");
    let two = start_on(&shelf, "two");
    assert!(one.leads() && !two.leads());
    let mut node = caller(&[two.advertised(), one.advertised()]);
    register(&mut node, 1);
    assert_eq!(node.leader(), Some(one.advertised()));
    // The one that leads is told that it does not any more, at its next sign of life or write.
    shelf.depose();
    wait_until(|| two.leads() || one.leads());
    let client = loop {
        match node.call(&Ask::NewClient { process: ProcessId(1) }, LEASE) {
            Ok(tell) => break tell,
            Err(CallError::NoLeader { .. } | CallError::NoAnswer { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(client, Tell::Client(ClientId(1)));
    drop((one, two));
}

#[test]
fn one_that_cannot_reach_the_store_stops_leading_before_another_one_can_begin() {
    let shelf = Shelf::default();
    shelf.set_term(Some(LEASE));
    let one = start_on(&shelf, "one");
    assert!(one.leads());
    shelf.set_broken(true);
    wait_until(|| !one.leads());
    let mut node = caller(&[one.advertised()]);
    let refused = node.call(&Ask::Status, PATIENCE).unwrap_err();
    assert!(matches!(refused, CallError::NoLeader { .. }), "{refused}");
    shelf.set_broken(false);
    wait_until(|| one.leads());
}
