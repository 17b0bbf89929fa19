//! Space to append to, over the wire.

mod common;

use common::{BLOCK, EXTENT, ME, config, dial, node, secret};
use farrow_control::message::{ExtentGrant, Refusal, Request};
use farrow_layout::{BlockAddr, ClientId, HomeId, NodeId, Policy};
use farrow_node::{Daemon, Embedded};
use std::collections::HashSet;

#[test]
fn extents_are_handed_out_until_there_are_none() {
    let daemon = node();
    let mut peer = dial(&daemon).joined(ME);
    let blocks = daemon.map().plan().unwrap().blocks();
    let mut seen = HashSet::new();
    for _ in 0..blocks * BLOCK / EXTENT {
        let grant = peer.open(ME, 0, 1).unwrap();
        assert_eq!((grant.count, grant.len), (1, EXTENT));
        assert!(seen.insert(grant.first), "{} twice", grant.first);
    }
    let refusal = peer.open(ME, 0, 1).unwrap_err();
    assert_eq!(refusal, Refusal::NoSpace { home: HomeId(0), blocks, block_len: BLOCK });
    peer.open(ME, 1, BLOCK).expect("the other home has its own");
}

#[test]
fn a_seal_needs_the_grant_and_its_owner() {
    let daemon = node();
    let mut peer = dial(&daemon).joined(ME);
    let mut other = dial(&daemon).joined(ClientId(2));
    let grant = peer.open(ME, 0, 2 * EXTENT).unwrap();
    assert!(matches!(other.seal(ClientId(2), 0, grant, 0), Err(Refusal::Bad(_))), "foreign");
    assert_eq!(other.seal(ME, 0, grant, 0), Err(Refusal::NotJoined(ME)), "in another's name");
    assert!(matches!(peer.seal(ME, 1, grant, 0), Err(Refusal::Bad(_))), "another home");
    assert!(matches!(peer.seal(ME, 0, grant, grant.len + 1), Err(Refusal::Bad(_))), "too much");
    peer.seal(ME, 0, grant, 100).unwrap();
    peer.seal(ME, 0, grant, 100).unwrap();
    let segment = peer.stats().segments[0];
    assert_eq!((segment.sealed_bytes, segment.open_bytes), (100, 0));
}

#[test]
fn hostile_requests_are_refused_and_the_session_goes_on() {
    let daemon = node();
    let mut peer = dial(&daemon).joined(ME);
    let not_primary = Refusal::NotPrimary { node: NodeId(0), home: HomeId(65535) };
    assert_eq!(peer.open(ME, 65535, 1), Err(not_primary.clone()));
    for bytes in [0, BLOCK + 1, u64::MAX] {
        assert!(matches!(peer.open(ME, 0, bytes), Err(Refusal::Bad(_))), "{bytes}");
    }
    assert_eq!(peer.open(ClientId(9), 0, 1), Err(Refusal::NotJoined(ClientId(9))));
    let most = ExtentGrant {
        first: u64::MAX,
        count: u32::MAX,
        start: BlockAddr(u64::MAX),
        len: u64::MAX,
        generation: u32::MAX,
    };
    assert!(matches!(peer.seal(ME, 0, most, u64::MAX), Err(Refusal::Bad(_))));
    assert!(matches!(peer.seal(ME, 0, ExtentGrant { first: 0, ..most }, 0), Err(Refusal::Bad(_))));
    assert_eq!(peer.seal(ME, 65535, most, 0), Err(not_primary));
    assert!(matches!(peer.refused(&Request::Join { client: ClientId(0) }), Refusal::Bad(_)));
    peer.open(ME, 0, BLOCK).unwrap();
}

#[test]
fn only_the_primary_hands_out_extents() {
    let mut config = config();
    config.cluster.policy = Policy::Replicate { copies: 2 };
    let cluster = Embedded::start(&config, 2, &secret()).unwrap();
    let map = cluster.node(0).unwrap().map();
    for i in 0..2 {
        let mut peer = dial(cluster.node(i).unwrap()).joined(ME);
        for home in &map.homes {
            let outcome = peer.open(ME, home.id.0, 1);
            if home.members[0].node == NodeId(i as u16) {
                outcome.unwrap();
            } else {
                assert_eq!(outcome, Err(Refusal::NotPrimary { node: NodeId(i as u16), home: home.id }));
            }
        }
    }
}

#[test]
fn extents_of_a_client_that_is_gone_are_orphans_and_not_reused() {
    let daemon = node();
    let mut peer = dial(&daemon).joined(ME);
    let grant = peer.open(ME, 0, BLOCK).unwrap();
    drop(peer);
    let mut other = dial(&daemon).joined(ClientId(2));
    common::eventually("the session ends", || {
        !daemon.stats().clients.iter().any(|client| client.client == ME)
    });
    let next = other.open(ClientId(2), 0, BLOCK).unwrap();
    assert_ne!(next.first, grant.first);
    // The numbers of segments are kept for a second.
    common::eventually("orphans are counted", || {
        let segment = other.stats().segments[0];
        (segment.orphaned_bytes, segment.open_bytes) == (BLOCK, 2 * BLOCK)
    });
}

#[test]
fn concurrent_clients_never_get_the_same_extent() {
    let daemon = node();
    let grants = |id: u32| {
        let (mut peer, me) = (dial(&daemon).joined(ClientId(id)), ClientId(id));
        (0..6).map(|i| peer.open(me, 0, 1 + i % 2 * EXTENT).unwrap()).collect::<Vec<_>>()
    };
    let all: Vec<ExtentGrant> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..5).map(|id| scope.spawn(move || grants(id))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut seen = HashSet::new();
    for grant in &all {
        for extent in grant.first..grant.first + u64::from(grant.count) {
            assert!(seen.insert(extent), "extent {extent} twice");
        }
    }
    assert_eq!(all.len(), 24);
}

#[test]
fn stats_tell_what_is_there() {
    let daemon: Daemon = node();
    let mut peer = dial(&daemon).joined(ME);
    let grant = peer.open(ME, 1, 1).unwrap();
    peer.seal(ME, 1, grant, 77).unwrap();
    peer.open(ME, 1, BLOCK).unwrap();
    let stats = peer.stats();
    assert_eq!((stats.node, stats.pid, stats.memory_len), (NodeId(0), std::process::id(), 2 << 20));
    assert_eq!((stats.clients.len(), stats.clients[0].client), (1, ME));
    assert_eq!((stats.clients[0].who.as_str(), stats.clients[0].transport.as_str()), ("test", ""));
    assert_eq!(stats.segments.len(), 2);
    let segment = stats.segments[1];
    assert_eq!((segment.home, segment.rank), (HomeId(1), 0));
    assert_eq!((segment.open_bytes, segment.sealed_bytes), (BLOCK, 77));
    assert_eq!(segment.free_bytes, segment.block_bytes - BLOCK - EXTENT);
    assert_eq!((segment.used_slots, segment.dead_bytes, segment.orphaned_bytes), (0, 0, 0));
    let count = |kind: &str| stats.requests.iter().find(|(k, _)| k == kind).unwrap().1;
    assert_eq!((count("hello"), count("open_extent"), count("seal_extent"), count("fence")), (1, 2, 1, 0));
    assert!(stats.transports.iter().any(|t| t.starts_with("shm: on")), "{:?}", stats.transports);
    assert!(stats.transports.iter().any(|t| t.starts_with("rdma: no")), "{:?}", stats.transports);
}
