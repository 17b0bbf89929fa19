//! The channel between two ends that behave: what passes, and what each end learns when they do not fit together.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use common::{accept_and, brief, other_secret, pair, secret};
use farrow_control::{Channel, Error, Limits, Preamble};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Ask {
    Add(u64, u64),
    Echo(Vec<u8>),
    Stop,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    Sum(u64),
    Bytes(Vec<u8>),
    Stopped,
}

fn serve<S: Read + Write + farrow_control::Timeouts>(stream: S) {
    let mut channel = Channel::accept(stream, &secret(), Limits::default()).unwrap();
    loop {
        match channel.recv().unwrap() {
            Ask::Add(a, b) => channel.send(&Answer::Sum(a + b)).unwrap(),
            Ask::Echo(bytes) => channel.send(&Answer::Bytes(bytes)).unwrap(),
            Ask::Stop => return channel.send(&Answer::Stopped).unwrap(),
        }
    }
}

fn use_it<S: Read + Write + farrow_control::Timeouts>(stream: S) {
    let mut channel = Channel::connect(stream, &secret(), Limits::default()).unwrap();
    assert_eq!(channel.peer(), Preamble::OURS);
    assert_eq!(channel.call::<_, Answer>(&Ask::Add(2, 3)).unwrap(), Answer::Sum(5));
    assert_eq!(channel.call::<_, Answer>(&Ask::Echo(Vec::new())).unwrap(), Answer::Bytes(Vec::new()));
    for len in [1, 65_000, 65_519, 65_520, 131_038, 131_039, 5 << 20] {
        let bytes: Vec<u8> = (0..len).map(|at: usize| (at % 251) as u8).collect();
        let Answer::Bytes(back) = channel.call(&Ask::Echo(bytes.clone())).unwrap() else {
            panic!("an echo is answered by bytes");
        };
        assert!(back == bytes, "{len} bytes came back different");
    }
    assert_eq!(channel.call::<_, Answer>(&Ask::Stop).unwrap(), Answer::Stopped);
}

#[test]
fn requests_and_replies_of_all_sizes_travel_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    use_it(TcpStream::connect(address).unwrap());
    server.join().unwrap();
}

#[test]
fn requests_and_replies_of_all_sizes_travel_over_a_unix_stream() {
    let (near, far) = UnixStream::pair().unwrap();
    let server = thread::spawn(move || serve(far));
    use_it(near);
    server.join().unwrap();
}

#[test]
fn messages_without_bytes_pass_too() {
    let (mut near, mut far) = pair();
    near.send(&()).unwrap();
    near.send("then text").unwrap();
    far.recv::<()>().unwrap();
    assert_eq!(far.recv::<String>().unwrap(), "then text");
}

#[test]
fn no_byte_of_a_message_travels_in_clear() {
    let (near, mut wire) = UnixStream::pair().unwrap();
    let (mut middle, far) = UnixStream::pair().unwrap();
    let receiver = accept_and(far, secret(), |mut channel| channel.recv::<String>().unwrap());
    let mut back = (wire.try_clone().unwrap(), middle.try_clone().unwrap());
    let backwards = thread::spawn(move || std::io::copy(&mut back.1, &mut back.0));
    let forwards = thread::spawn(move || {
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = wire.read(&mut chunk) {
            seen.extend_from_slice(&chunk[..read]);
            middle.write_all(&chunk[..read]).unwrap();
        }
        middle.shutdown(std::net::Shutdown::Both).unwrap();
        seen
    });
    let mut channel = Channel::connect(near, &secret(), Limits::default()).unwrap();
    channel.send("memory key 0xdecafbad").unwrap();
    assert_eq!(receiver.join().unwrap().unwrap(), "memory key 0xdecafbad");
    drop(channel);
    let seen = forwards.join().unwrap();
    backwards.join().unwrap().unwrap();
    assert!(seen.len() > 21, "the wire was watched");
    assert!(!seen.windows(6).any(|window| window == b"memory"), "the message was readable");
}

#[test]
fn both_ends_learn_that_their_secrets_differ() {
    let (near, far) = UnixStream::pair().unwrap();
    let acceptor = accept_and(far, other_secret(), |_| ());
    assert!(matches!(Channel::connect(near, &secret(), brief()), Err(Error::WrongSecret)));
    assert!(matches!(acceptor.join().unwrap(), Err(Error::WrongSecret)));
}

#[test]
fn both_ends_learn_that_their_secrets_differ_over_tcp() {
    // On TCP a close with unread bytes would reset the connection and swallow the refusal.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = thread::spawn(move || {
        Channel::accept(listener.accept().unwrap().0, &other_secret(), brief()).map(|_| ())
    });
    let near = TcpStream::connect(address).unwrap();
    assert!(matches!(Channel::connect(near, &secret(), brief()), Err(Error::WrongSecret)));
    assert!(matches!(acceptor.join().unwrap(), Err(Error::WrongSecret)));
}

#[test]
fn acceptor_tells_another_version_its_own_and_reports_theirs() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let acceptor = accept_and(far, secret(), |_| ());
    let newer = Preamble { major: 2, minor: 7, features: 1 };
    near.write_all(&newer.to_bytes()).unwrap();
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, Preamble::OURS.to_bytes());
    match acceptor.join().unwrap() {
        Err(Error::VersionMismatch { ours, theirs }) => assert_eq!((ours, theirs), (Preamble::OURS, newer)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn connector_reports_another_version() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let older = Preamble { major: 0, minor: 9, features: 0 };
    far.write_all(&older.to_bytes()).unwrap();
    let error = Channel::connect(near, &secret(), brief()).unwrap_err();
    assert!(matches!(&error, Error::VersionMismatch { theirs, .. } if *theirs == older));
    assert_eq!(
        error.to_string(),
        "the peer speaks control protocol 0.9, this build 1.0; run the same Farrow release on both ends"
    );
}

#[test]
fn another_minor_version_and_features_are_welcome() {
    // The handshake binds the preambles, so a raw peer that says another minor must also mix it in; what can be
    // seen from outside is that the acceptor goes on to wait for the handshake instead of refusing.
    let (mut near, far) = UnixStream::pair().unwrap();
    let acceptor = accept_and(far, secret(), |_| ());
    near.write_all(&Preamble { major: Preamble::OURS.major, minor: 99, features: !0 }.to_bytes()).unwrap();
    near.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(acceptor.join().unwrap(), Err(Error::Closed)));
}

#[test]
fn a_second_call_after_an_error_is_refused() {
    let (mut near, far) = pair();
    drop(far);
    assert!(matches!(near.recv::<u8>(), Err(Error::Closed)));
    assert!(matches!(near.recv::<u8>(), Err(Error::Poisoned)));
    assert!(matches!(near.recv_within::<u8>(Duration::ZERO), Err(Error::Poisoned)));
    assert!(matches!(near.send(&1), Err(Error::Poisoned)));
    assert!(matches!(near.call::<_, u8>(&1), Err(Error::Poisoned)));
}

#[test]
fn message_of_another_type_is_malformed_never_a_panic() {
    let (mut near, mut far) = pair();
    near.send(&(1_u8, 2_u8)).unwrap();
    assert!(matches!(far.recv::<u8>(), Err(Error::Malformed(_))), "left-over bytes");
    let (mut near, mut far) = pair();
    near.send(&200_u8).unwrap();
    assert!(matches!(far.recv::<Ask>(), Err(Error::Malformed(_))), "no such variant");
}

#[test]
fn message_over_the_limit_is_refused_by_either_end() {
    let (mut near, mut far) = pair();
    near.set_limits(Limits { max_message: 100, ..Limits::default() });
    far.set_limits(Limits { max_message: 100, ..Limits::default() });
    near.send(&vec![0_u8; 99]).unwrap();
    assert_eq!(far.recv::<Vec<u8>>().unwrap().len(), 99);
    assert!(matches!(near.send(&vec![0_u8; 100]), Err(Error::TooLarge { len: 101, max: 100 })));

    let (mut near, mut far) = pair();
    far.set_limits(Limits { max_message: 100, ..Limits::default() });
    near.send(&vec![0_u8; 100]).unwrap();
    assert!(matches!(far.recv::<Vec<u8>>(), Err(Error::TooLarge { len: 101, max: 100 })));
}

#[test]
fn looking_for_a_message_that_does_not_come_leaves_the_channel_in_order() {
    let (mut near, mut far) = pair();
    assert_eq!(far.recv_within::<u8>(Duration::ZERO).unwrap(), None);
    assert_eq!(far.recv_within::<u8>(Duration::from_millis(20)).unwrap(), None);
    near.send(&7_u8).unwrap();
    assert_eq!(far.recv_within::<u8>(Duration::from_secs(5)).unwrap(), Some(7));
    near.send(&8_u8).unwrap();
    assert_eq!(far.recv::<u8>().unwrap(), 8);
}

#[test]
fn call_to_a_silent_peer_times_out() {
    let (mut near, far) = pair();
    near.set_limits(Limits { reply: Duration::from_millis(50), ..Limits::default() });
    let begun = Instant::now();
    assert!(matches!(near.call::<_, u8>(&1_u8), Err(Error::TimedOut)));
    assert!(begun.elapsed() >= Duration::from_millis(50));
    drop(far);
}

#[test]
fn sending_to_a_peer_that_never_reads_times_out() {
    let (mut near, far) = pair();
    near.set_limits(Limits { message: Duration::from_millis(50), ..Limits::default() });
    assert!(matches!(near.send(&vec![0_u8; 8 << 20]), Err(Error::TimedOut)));
    drop(far);
}
