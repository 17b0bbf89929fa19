//! The channel against strangers, broken connections and somebody on the wire.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use common::{Fault, Faulty, accept_and, brief, pair, secret};
use farrow_control::{Channel, Error, Limits, PREAMBLE_LEN, Preamble};

/// What the initiator writes before its first message: preamble, handshake message, empty frame.
const CONNECTOR_BYTES: usize = PREAMBLE_LEN + (2 + 48) + (2 + 16);
/// What the responder writes: preamble, handshake message.
const ACCEPTOR_BYTES: usize = PREAMBLE_LEN + (2 + 48);

fn accept_from(bytes: &[u8]) -> Error {
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(bytes).unwrap();
    let acceptor = accept_and(far, secret(), |_| ());
    // The connection stays open: what is refused is refused for its bytes.
    let error = acceptor.join().unwrap().unwrap_err();
    drop(near);
    error
}

#[test]
fn strangers_are_recognised_by_their_first_bytes_and_get_no_answer() {
    for stranger in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01", b"F\n", b"\0"]
    {
        let begun = Instant::now();
        match accept_from(stranger) {
            Error::NotFarrow { seen } => assert!(stranger.starts_with(&seen)),
            other => panic!("{stranger:?}: {other:?}"),
        }
        assert!(begun.elapsed() < brief().handshake, "{stranger:?} was not waited for");
    }
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    assert!(accept_and(far, secret(), |_| ()).join().unwrap().is_err());
    let mut answer = [0; 1];
    // A reset instead of an end is as good: unread bytes were dropped.
    assert!(!matches!(near.read(&mut answer), Ok(1)), "a stranger was answered with {answer:?}");
}

#[test]
fn connecting_to_a_stranger_says_what_it_sent() {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    let error = Channel::connect(near, &secret(), brief()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the peer does not speak Farrow's control protocol (it sent \"HTTP/1.1 400 Bad\"); \
         check the address and port"
    );
}

#[test]
fn wrong_handshake_frames_are_refused_before_they_are_read() {
    let preamble = Preamble::OURS.to_bytes();
    for len in [1_u16, 47, 49, u16::MAX] {
        let error = accept_from(&[&preamble[..], &len.to_le_bytes()].concat());
        assert!(matches!(error, Error::Malformed(_)), "length {len}: {error:?}");
    }
    let error = accept_from(&[&preamble[..], &48_u16.to_le_bytes(), &[0xa5; 48]].concat());
    assert!(matches!(error, Error::WrongSecret), "{error:?}");
}

/// Runs a handshake and one message with a fault on each end's writes.
fn run(connector: Fault, acceptor: Fault) -> (Result<(), Error>, Result<u64, Error>) {
    let (near, far) = UnixStream::pair().unwrap();
    let accepting = thread::spawn(move || {
        Channel::accept(Faulty::new(far, acceptor), &secret(), brief())
            .and_then(|mut channel| channel.recv::<u64>())
    });
    let connected = Channel::connect(Faulty::new(near, connector), &secret(), brief())
        .and_then(|mut channel| channel.send(&u64::MAX));
    (connected, accepting.join().unwrap())
}

#[test]
fn handshake_cut_at_any_byte_ends_both_ends_at_once() {
    let begun = Instant::now();
    for at in 0..CONNECTOR_BYTES {
        let (connected, accepted) = run(Fault::CutBefore(at), Fault::None);
        assert!(matches!(accepted, Err(Error::Closed)), "accepting, cut at {at}: {accepted:?}");
        if at < CONNECTOR_BYTES - 18 {
            assert!(matches!(connected, Err(Error::Closed)), "connecting, cut at {at}: {connected:?}");
        }
    }
    for at in 0..ACCEPTOR_BYTES {
        let (connected, accepted) = run(Fault::None, Fault::CutBefore(at));
        assert!(matches!(connected, Err(Error::Closed)), "connecting, cut at {at}: {connected:?}");
        assert!(matches!(accepted, Err(Error::Closed)), "accepting, cut at {at}: {accepted:?}");
    }
    // Every one of them ended by its typed error and not by waiting for its deadline.
    let runs = u32::try_from(CONNECTOR_BYTES + ACCEPTOR_BYTES).unwrap();
    assert!(begun.elapsed() < brief().handshake * runs / 10);
    assert!(matches!(run(Fault::CutBefore(CONNECTOR_BYTES), Fault::None).1, Err(Error::Closed)));
}

#[test]
fn unharmed_run_passes() {
    let (connected, accepted) = run(Fault::None, Fault::None);
    connected.unwrap();
    assert_eq!(accepted.unwrap(), u64::MAX);
}

#[test]
fn flip_of_any_handshake_byte_never_yields_a_message() {
    for at in 0..CONNECTOR_BYTES {
        let (_, accepted) = run(Fault::Flip(at, 0x01), Fault::None);
        let error = accepted.expect_err("the acceptor took an altered handshake");
        match at {
            0..8 => assert!(matches!(error, Error::NotFarrow { .. }), "byte {at}: {error:?}"),
            8..10 => assert!(matches!(error, Error::VersionMismatch { .. }), "byte {at}: {error:?}"),
            // Minor and features are bound by the handshake, which then fails.
            10..16 => assert!(matches!(error, Error::WrongSecret), "byte {at}: {error:?}"),
            16..18 => assert!(matches!(error, Error::Malformed(_)), "byte {at}: {error:?}"),
            // The top bit of an ephemeral key is not part of the key, but it is of the transcript.
            18..66 => assert!(matches!(error, Error::WrongSecret), "byte {at}: {error:?}"),
            _ => assert!(
                matches!(error, Error::WrongSecret | Error::Malformed(_) | Error::Closed),
                "byte {at}: {error:?}"
            ),
        }
    }
    for at in 0..ACCEPTOR_BYTES {
        let (connected, accepted) = run(Fault::None, Fault::Flip(at, 0x80));
        connected.expect_err("the connector took an altered handshake");
        accepted.expect_err("the acceptor went on without its peer");
    }
}

#[test]
fn flip_of_any_bit_of_a_message_is_detected() {
    // A length, ten bytes of plaintext at most for a u64, its length field, a tag.
    let frame_len = 2 + 4 + 10 + 16;
    for at in 0..frame_len {
        for bit in 0..8 {
            let (_, accepted) = run(Fault::Flip(CONNECTOR_BYTES + at, 1 << bit), Fault::None);
            let error = accepted.expect_err("an altered frame was accepted");
            if at < 2 {
                // A longer frame waits for bytes until the sender hangs up, a shorter one lacks its end.
                assert!(
                    matches!(error, Error::Tampered | Error::Malformed(_) | Error::Closed),
                    "{at}.{bit}: {error:?}"
                );
            } else {
                assert!(matches!(error, Error::Tampered), "byte {at} bit {bit}: {error:?}");
            }
        }
    }
}

#[test]
fn repeated_frame_is_refused() {
    let (near, far) = UnixStream::pair().unwrap();
    let accepting = accept_and(far, secret(), |mut channel| (channel.recv::<u64>(), channel.recv::<u64>()));
    let mut raw = near.try_clone().unwrap();
    let tap = Faulty::new(near, Fault::None);
    let written = tap.written.clone();
    let mut channel = Channel::connect(tap, &secret(), brief()).unwrap();
    channel.send(&7_u64).unwrap();
    let frame = written.lock().unwrap()[CONNECTOR_BYTES..].to_vec();
    raw.write_all(&frame).unwrap();
    let (first, second) = accepting.join().unwrap().unwrap();
    assert_eq!(first.unwrap(), 7);
    assert!(matches!(second, Err(Error::Tampered)), "{second:?}");
}

#[test]
fn frame_sent_back_to_its_sender_is_refused() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let accepting = accept_and(far.try_clone().unwrap(), secret(), |channel| channel);
    let tap = Faulty::new(near, Fault::None);
    let written = tap.written.clone();
    let mut channel = Channel::connect(tap, &secret(), brief()).unwrap();
    let acceptor = accepting.join().unwrap().unwrap();
    channel.send(&7_u64).unwrap();
    far.write_all(&written.lock().unwrap()[CONNECTOR_BYTES..]).unwrap();
    assert!(matches!(channel.recv::<u64>(), Err(Error::Tampered)));
    drop(acceptor);
}

#[test]
fn dropped_frame_is_noticed() {
    let (near, far) = UnixStream::pair().unwrap();
    let accepting = accept_and(far, secret(), |mut channel| channel.recv::<u64>());
    let first_frame = CONNECTOR_BYTES..CONNECTOR_BYTES + 2 + 4 + 1 + 16;
    let stream = Faulty::new(near, Fault::Drop(first_frame.start, first_frame.end));
    let mut channel = Channel::connect(stream, &secret(), brief()).unwrap();
    channel.send(&1_u64).unwrap();
    channel.send(&2_u64).unwrap();
    let received = accepting.join().unwrap().unwrap();
    assert!(matches!(received, Err(Error::Tampered)), "{received:?}");
}

#[test]
fn recorded_session_replayed_to_the_acceptor_is_refused() {
    let (near, far) = UnixStream::pair().unwrap();
    let accepting = accept_and(far, secret(), |mut channel| channel.recv::<u64>().unwrap());
    let tap = Faulty::new(near, Fault::None);
    let written = tap.written.clone();
    let mut channel = Channel::connect(tap, &secret(), brief()).unwrap();
    channel.send(&7_u64).unwrap();
    assert_eq!(accepting.join().unwrap().unwrap(), 7);

    // The handshake message is genuine, the answer's key is fresh: the proof that follows is not.
    let error = accept_from(&written.lock().unwrap());
    assert!(matches!(error, Error::WrongSecret), "{error:?}");
}

#[test]
fn dripping_peer_does_not_outlive_the_handshake_deadline() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let limits = Limits { handshake: Duration::from_millis(100), ..Limits::default() };
    let begun = Instant::now();
    let acceptor =
        thread::spawn(move || (Channel::accept(far, &secret(), limits).map(|_| ()), begun.elapsed()));
    // A preamble that takes 1.6 s: a deadline for each read alone would see all of it.
    for byte in Preamble::OURS.to_bytes() {
        if near.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let (accepted, took) = acceptor.join().unwrap();
    assert!(matches!(accepted, Err(Error::TimedOut)), "{accepted:?}");
    assert!(took >= Duration::from_millis(100));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn silent_peer_times_out_on_both_sides() {
    let limits = Limits { handshake: Duration::from_millis(50), ..Limits::default() };
    let (near, far) = UnixStream::pair().unwrap();
    assert!(matches!(Channel::accept(near, &secret(), limits), Err(Error::TimedOut)));
    drop(far);
    let (near, far) = UnixStream::pair().unwrap();
    assert!(matches!(Channel::connect(near, &secret(), limits), Err(Error::TimedOut)));
    drop(far);
}

#[test]
fn message_that_stops_half_way_times_out() {
    let (mut near, mut far) = pair();
    far.set_limits(Limits { message: Duration::from_millis(50), ..Limits::default() });
    // One byte of a frame that never goes on: the idle wait is over, the message's deadline runs.
    near.send(&1_u64).unwrap();
    assert_eq!(far.recv::<u64>().unwrap(), 1);
    near.stream().try_clone().unwrap().write_all(&[9]).unwrap();
    assert!(matches!(far.recv::<u64>(), Err(Error::TimedOut)));
}
