//! Links over shared memory: handed out, fenced, taken back.

mod common;

use common::{ME, config, dial, dial_unix, eventually, node, secret};
use farrow_config::Transport;
use farrow_control::message::{RdmaEnd, Refusal, Reply, Request};
use farrow_fabric::Mapping;
use farrow_fabric_shm::{ShmGrant, ShmPeer};
use farrow_layout::{ClientId, Epoch, ShmControl, ShmLink, Superblock};
use farrow_node::Daemon;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

fn transport_of(daemon: &Daemon, client: ClientId) -> Option<String> {
    daemon.stats().clients.into_iter().find(|c| c.client == client).map(|c| c.transport)
}

#[test]
fn the_memory_that_is_passed_is_the_nodes() {
    let daemon = node();
    let mut peer = dial_unix(&daemon).joined(ME);
    let (end, passed) = peer.link_with_files(ME);
    assert_eq!(passed.grant, ShmGrant { link: end.link, key: end.key, epoch: end.epoch });
    assert_eq!(Epoch(end.epoch), daemon.map().epoch);
    let mapped = ShmPeer::map(&passed.memory, &passed.control).unwrap();
    assert_eq!(mapped.memory_len(), 2 << 20);
    assert!(mapped.is_alive());
    let memory = Mapping::shared(&passed.memory, 4096).unwrap();
    let mut bytes = [0; Superblock::LEN];
    memory.copy_out(0, &mut bytes);
    let superblock = Superblock::open(&bytes).unwrap();
    assert_eq!(superblock.incarnation, daemon.stats().incarnation.0);
    assert_eq!(superblock.geometry(), daemon.map().geometry);
    assert_eq!(transport_of(&daemon, ME).as_deref(), Some("shm"));
    // The channel is still in step behind the files.
    peer.stats();
    daemon.stop();
    assert!(!mapped.is_alive(), "links of a stopped node fail");
}

#[test]
fn shared_memory_is_for_this_host_only() {
    let daemon = node();
    let mut peer = dial(&daemon).joined(ME);
    let refusal = peer.refused(&Request::LinkShm { client: ME, want_files: true });
    assert!(matches!(&refusal, Refusal::Transport(why) if why.contains(daemon.shm_socket())), "{refusal}");
    peer.stats();
}

#[test]
fn a_transport_that_is_not_there_is_refused_with_its_reason() {
    let daemon = node();
    let mut peer = dial_unix(&daemon).joined(ME);
    let end = RdmaEnd { qpn: 1, psn: 2, lid: 0, gid: [0; 16], mtu: 1024, responder_reads: 1 };
    let refusal = peer.refused(&Request::LinkRdma { client: ME, end });
    assert!(matches!(&refusal, Refusal::Transport(why) if why.contains("no RDMA")), "{refusal}");
    assert_eq!(
        peer.refused(&Request::LinkRdma { client: ClientId(5), end }),
        Refusal::NotJoined(ClientId(5))
    );
}

#[test]
fn clients_that_have_not_joined_get_no_link() {
    let daemon = node();
    let mut peer = dial_unix(&daemon);
    peer.hello();
    assert_eq!(peer.link(ME), Err(Refusal::NotJoined(ME)));
    let _other = dial_unix(&daemon).joined(ME);
    assert_eq!(peer.link(ME), Err(Refusal::NotJoined(ME)), "nor in another session's name");
}

#[test]
fn unlinking_and_leaving_give_the_link_back() {
    let mut config = config();
    config.node.max_clients = 1;
    let daemon = Daemon::start(&config, &secret()).unwrap();
    let mut peer = dial_unix(&daemon).joined(ME);
    // With one link in all, each of these needs the one before to be given back.
    let first = peer.link(ME).unwrap();
    let again = peer.link(ME).expect("a client's new link takes the place of its old one");
    assert_eq!(again.link, first.link);
    assert_ne!(again.key, first.key);
    assert_eq!(peer.call(&Request::Unlink { client: ME }), Reply::Done);
    assert_eq!(transport_of(&daemon, ME).as_deref(), Some(""));
    assert_eq!(peer.call(&Request::Unlink { client: ME }), Reply::Done, "there is nothing to do");
    peer.link(ME).unwrap();
    assert_eq!(peer.call(&Request::Leave { client: ME }), Reply::Done);
    assert_eq!(peer.refused(&Request::Leave { client: ME }), Refusal::NotJoined(ME));
    let mut peer = peer.joined(ClientId(2));
    peer.link(ClientId(2)).unwrap();
}

#[test]
fn a_session_that_breaks_gives_its_links_back() {
    let mut config = config();
    config.node.max_clients = 1;
    let daemon = Daemon::start(&config, &secret()).unwrap();
    for round in 1..4 {
        let client = ClientId(round);
        let mut peer = dial_unix(&daemon).joined(client);
        peer.link(client).unwrap();
        drop(peer);
        eventually("its client leaves", || daemon.stats().clients.is_empty());
    }
}

#[test]
fn a_fence_breaks_links_and_begins_an_epoch() {
    let daemon = node();
    let mut peer = dial_unix(&daemon).joined(ME);
    peer.link(ME).unwrap();
    let mut other = dial_unix(&daemon).joined(ClientId(2));
    let (_, passed) = other.link_with_files(ClientId(2));
    let mut tool = dial(&daemon);
    tool.hello();
    assert_eq!(
        tool.call(&Request::Fence { epoch: Epoch(5), deposed: Vec::new() }),
        Reply::Fenced { links: 2 }
    );
    assert_eq!(tool.hello().map.epoch, Epoch(5));
    assert_eq!(transport_of(&daemon, ME).as_deref(), Some(""));

    for (asked, current) in [(5, 5), (4, 5), (0, 5)] {
        let refusal = tool.refused(&Request::Fence { epoch: Epoch(asked), deposed: Vec::new() });
        assert_eq!(refusal, Refusal::StaleEpoch { asked: Epoch(asked), current: Epoch(current) });
    }
    assert!(matches!(
        tool.refused(&Request::Fence { epoch: Epoch(u64::MAX), deposed: Vec::new() }),
        Refusal::Bad(_)
    ));

    let end = peer.link(ME).expect("a fenced client may come back");
    assert_eq!(end.epoch, 5);
    assert_eq!(transport_of(&daemon, ME).as_deref(), Some("shm"));
    assert_ne!(passed.grant.epoch, 5);
    assert_eq!(
        tool.call(&Request::Fence { epoch: Epoch(6), deposed: Vec::new() }),
        Reply::Fenced { links: 1 }
    );
}

/// The word that says whether the client of `grant` is inside of a chain.
fn busy_word(control: &Mapping, grant: &ShmGrant) -> (usize, u64) {
    let link = size_of::<ShmControl>() + grant.link as usize * size_of::<ShmLink>();
    let at = link + offset_of!(ShmLink, busy);
    assert_eq!(control.word(at).load(Ordering::SeqCst), u64::from(grant.key) << 32, "idle");
    (at, u64::from(grant.key) << 32)
}

#[test]
fn a_fence_that_a_client_holds_up_fails_and_may_be_repeated() {
    let daemon = node();
    let mut peer = dial_unix(&daemon).joined(ME);
    let (_, passed) = peer.link_with_files(ME);
    let control = Mapping::shared(&passed.control, 4096).unwrap();
    let (at, idle) = busy_word(&control, &passed.grant);
    control.word(at).store(idle | 1, Ordering::SeqCst);

    let mut tool = dial(&daemon);
    tool.hello();
    let fence = Request::Fence { epoch: Epoch(2), deposed: Vec::new() };
    // The client is this very process: the node must not kill it.
    let refusal = tool.refused(&fence);
    assert!(matches!(&refusal, Refusal::Transport(why) if why.contains("may still write")), "{refusal}");
    assert_eq!(tool.hello().map.epoch, Epoch(2), "its links are broken all the same");

    control.word(at).store(idle, Ordering::SeqCst);
    assert_eq!(tool.call(&fence), Reply::Fenced { links: 1 });
    let asked = Epoch(2);
    assert_eq!(tool.refused(&fence), Refusal::StaleEpoch { asked, current: asked }, "it is over");
    assert_eq!(peer.link(ME).unwrap().epoch, 2);
}

#[test]
fn a_fence_under_way_delays_no_other_request() {
    let daemon = node();
    let mut peer = dial_unix(&daemon).joined(ME);
    let (_, passed) = peer.link_with_files(ME);
    let control = Mapping::shared(&passed.control, 4096).unwrap();
    let (at, idle) = busy_word(&control, &passed.grant);
    control.word(at).store(idle | 1, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let mut tool = dial(&daemon);
        tool.hello();
        let fence =
            scope.spawn(move || tool.refused(&Request::Fence { epoch: Epoch(2), deposed: Vec::new() }));
        eventually("the fence begins", || daemon.map().epoch == Epoch(2));
        let mut other = dial(&daemon).joined(ClientId(2));
        other.stats();
        other.open(ClientId(2), 0, 1).unwrap();
        assert!(!fence.is_finished(), "it waits for the client's grace");
        assert!(matches!(fence.join().unwrap(), Refusal::Transport(_)));
    });
}

#[test]
fn fences_and_links_may_come_at_once() {
    let daemon = node();
    std::thread::scope(|scope| {
        for id in 1..5 {
            let daemon = &daemon;
            scope.spawn(move || {
                let mut peer = dial_unix(daemon).joined(ClientId(id));
                let mut last = 0;
                for _ in 0..50 {
                    let end = peer.link(ClientId(id)).unwrap();
                    assert!(end.epoch >= last, "epochs only grow");
                    last = end.epoch;
                }
            });
        }
        let mut tool = dial(&daemon);
        tool.hello();
        for epoch in 2..40 {
            assert!(matches!(
                tool.call(&Request::Fence { epoch: Epoch(epoch), deposed: Vec::new() }),
                Reply::Fenced { .. }
            ));
        }
    });
    let mut peer = dial_unix(&daemon).joined(ME);
    assert_eq!(peer.link(ME).unwrap().epoch, 39);
}

#[test]
fn a_node_that_is_told_to_does_not_offer_shared_memory() {
    // With transport rdma alone a node does not start without RDMA, so shared memory is refused by nobody else here.
    let mut config = config();
    config.fabric.transport = Transport::Shm;
    let daemon = Daemon::start(&config, &secret()).unwrap();
    let welcome = dial(&daemon).hello();
    assert!(welcome.shm_socket.is_some());
    assert!(welcome.rdma_note.contains("fabric.transport is shm"), "{}", welcome.rdma_note);
}
