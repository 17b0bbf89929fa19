//! Connections: many, odd, slow, and cut.

mod common;

use common::{ME, Peer, config, dial, dial_unix, eventually, node, secret};
use farrow_control::message::{Refusal, Reply, Request};
use farrow_control::{Channel, Error, Limits};
use farrow_layout::ClientId;
use farrow_node::Daemon;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn hello_comes_first_and_may_come_again() {
    let daemon = node();
    let mut peer = dial(&daemon);
    for request in [Request::Join { client: ME }, Request::Stats] {
        assert!(matches!(peer.refused(&request), Refusal::Bad(why) if why.contains("Hello")));
    }
    assert_eq!(peer.hello(), peer.hello());
}

#[test]
fn an_id_is_joined_once() {
    let daemon = node();
    let mut peer = dial(&daemon).joined(ME);
    assert_eq!(peer.refused(&Request::Join { client: ME }), Refusal::ClientTaken(ME));
    let mut other = dial_unix(&daemon);
    other.hello();
    assert_eq!(other.refused(&Request::Join { client: ME }), Refusal::ClientTaken(ME));
    assert_eq!(other.refused(&Request::Leave { client: ME }), Refusal::NotJoined(ME));
    assert_eq!(peer.call(&Request::Leave { client: ME }), Reply::Done);
    assert_eq!(other.call(&Request::Join { client: ME }), Reply::Joined);
}

#[test]
fn more_clients_than_there_may_be_are_refused() {
    let mut config = config();
    config.node.max_clients = 2;
    let daemon = Daemon::start(&config, &secret()).unwrap();
    let mut peer = dial(&daemon).joined(ClientId(1)).joined(ClientId(2));
    assert_eq!(peer.refused(&Request::Join { client: ClientId(3) }), Refusal::TooManyClients(2));
    assert_eq!(peer.call(&Request::Leave { client: ClientId(1) }), Reply::Done);
    peer.joined(ClientId(3));
}

#[test]
fn more_sessions_than_there_may_be_are_told_why() {
    let mut config = config();
    config.node.max_clients = 1;
    let daemon = Daemon::start(&config, &secret()).unwrap();
    // A client, 16 tools, and 512 agents of other nodes.
    let mut inside: Vec<_> = (0..1 + 16 + 512).map(|_| dial(&daemon)).collect();
    inside.iter_mut().for_each(|peer| drop(peer.hello()));
    let mut refused = dial(&daemon);
    assert_eq!(refused.refused(&Request::Stats), Refusal::TooManyClients(1));
    assert!(matches!(refused.try_call(&Request::Stats), Err(Error::Closed)));
    inside[3].stats();
    drop(inside.pop());
    eventually("a place is free again", || {
        matches!(dial(&daemon).call(&Request::Hello { who: "next".into(), pid: 0 }), Reply::Welcome(_))
    });
}

#[test]
fn garbage_ends_its_own_session_only() {
    let daemon = node();
    let mut good = dial(&daemon).joined(ME);

    let mut stranger = TcpStream::connect(daemon.address()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stranger.read_to_end(&mut answer);
    assert!(answer.is_empty(), "strangers are not answered");

    // Somebody with the secret who does not send requests.
    let stream = TcpStream::connect(daemon.address()).unwrap();
    let mut odd = Channel::connect(stream, &secret(), Limits::default()).unwrap();
    odd.send([0xffu8; 64].as_slice()).unwrap();
    assert!(matches!(odd.recv::<Reply>(), Err(Error::Closed)));

    let stream = TcpStream::connect(daemon.address()).unwrap();
    let half = Channel::connect(stream, &secret(), Limits::default()).unwrap();
    let mut raw = half.stream();
    raw.write_all(&[200, 0, 1, 2, 3]).unwrap();
    drop(half);

    good.stats();
    assert_eq!(daemon.stats().clients.len(), 1);
}

#[test]
fn strangers_who_say_nothing_delay_nobody() {
    let daemon = node();
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(daemon.address()).unwrap()).collect();
    let begun = Instant::now();
    let mut peer = dial(&daemon).joined(ME);
    peer.stats();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    drop(silent);
}

#[test]
fn more_strangers_than_there_is_room_for_make_room() {
    let daemon = node();
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect(daemon.address()).unwrap()).collect();
    let begun = Instant::now();
    // The strangers' handshakes would last five seconds each; cut after one, three rounds are through before.
    dial(&daemon).joined(ME).stats();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(silent);
}

#[test]
fn a_client_that_does_not_read_delays_nobody() {
    let daemon = node();
    let mut slow = dial(&daemon);
    slow.hello();
    rustix::net::sockopt::set_socket_recv_buffer_size(slow.channel.stream(), 4096).unwrap();
    slow.channel.set_limits(Limits { message: Duration::from_millis(100), ..common::limits() });
    // The replies fill the socket; then the node stops reading, and requests fill it the other way.
    let is_stuck = (0..1_000_000).any(|_| slow.channel.send(&Request::Stats).is_err());
    assert!(is_stuck);
    let begun = Instant::now();
    let mut peer = dial(&daemon).joined(ME);
    for _ in 0..20 {
        peer.stats();
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn stop_does_not_wait_for_clients() {
    let daemon = node();
    let mut peers: Vec<_> = (1..20).map(|id| dial(&daemon).joined(ClientId(id))).collect();
    let mut linked = dial_unix(&daemon).joined(ME);
    linked.link(ME).unwrap();
    let silent = TcpStream::connect(daemon.address()).unwrap();
    let address = daemon.address();
    let begun = Instant::now();
    daemon.stop();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for peer in &mut peers {
        assert!(peer.try_call(&Request::Stats).is_err());
    }
    assert!(linked.try_call(&Request::Stats).is_err());
    assert!(TcpStream::connect(address).is_err());
    drop(silent);
}

#[test]
fn clients_come_and_go_at_once() {
    let daemon = node();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let daemon = &daemon;
            scope.spawn(move || {
                for round in 1..20 {
                    let id = ClientId(thread * 1000 + round);
                    let mut peer: Peer<_> = dial_unix(daemon).joined(id);
                    peer.link(id).unwrap();
                    if round % 2 == 0 {
                        assert_eq!(peer.call(&Request::Leave { client: id }), Reply::Done);
                    }
                }
            });
        }
    });
    eventually("all have left", || daemon.stats().clients.is_empty());
}
