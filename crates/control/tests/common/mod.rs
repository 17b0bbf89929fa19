//! Two ends of a channel, and streams that misbehave at a chosen byte.
#![allow(dead_code)] // Each test binary uses its part.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use farrow_control::{Channel, Error, Limits, Secret, Timeouts};

pub fn secret() -> Secret {
    Secret::from_bytes("the secret of this test's cluster").unwrap()
}

pub fn other_secret() -> Secret {
    Secret::from_bytes("the secret of another cluster....").unwrap()
}

/// Limits for tests in which nothing good is to be waited for.
pub fn brief() -> Limits {
    let wait = Duration::from_secs(2);
    Limits { handshake: wait, message: wait, reply: wait, idle: Some(wait), ..Limits::default() }
}

/// Accepts on a thread of its own and goes on with the channel.
pub fn accept_and<S, T>(
    stream: S,
    secret: Secret,
    then: impl FnOnce(Channel<S>) -> T + Send + 'static,
) -> JoinHandle<Result<T, Error>>
where
    S: Read + Write + Timeouts + Send + 'static,
    T: Send + 'static,
{
    thread::spawn(move || Channel::accept(stream, &secret, brief()).map(then))
}

pub fn pair() -> (Channel<UnixStream>, Channel<UnixStream>) {
    let (near, far) = UnixStream::pair().unwrap();
    let acceptor = accept_and(far, secret(), |channel| channel);
    (Channel::connect(near, &secret(), brief()).unwrap(), acceptor.join().unwrap().unwrap())
}

/// What a [`Faulty`] stream does to the bytes written to it, counted from the first.
#[derive(Clone, Copy)]
pub enum Fault {
    None,
    /// Closes both directions in front of this byte.
    CutBefore(usize),
    /// Loses the write that begins and ends at these bytes.
    Drop(usize, usize),
    /// Xors the byte at a position.
    Flip(usize, u8),
}

/// A stream that keeps what is written to it and damages it on the way.
pub struct Faulty {
    inner: UnixStream,
    fault: Fault,
    pub written: Arc<Mutex<Vec<u8>>>,
}

impl Faulty {
    pub fn new(inner: UnixStream, fault: Fault) -> Faulty {
        Faulty { inner, fault, written: Arc::default() }
    }
}

impl Read for Faulty {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.inner.read(bytes)
    }
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.written.lock().unwrap();
        let mut sent = bytes.to_vec();
        match self.fault {
            Fault::None | Fault::Drop(..) => {}
            Fault::CutBefore(at) => sent.truncate(at.saturating_sub(written.len())),
            Fault::Flip(at, mask) => {
                if let Some(byte) = at.checked_sub(written.len()).and_then(|at| sent.get_mut(at)) {
                    *byte ^= mask;
                }
            }
        }
        let cut = sent.len() < bytes.len();
        let lost =
            matches!(self.fault, Fault::Drop(from, to) if from == written.len() && to == from + bytes.len());
        written.extend_from_slice(&sent);
        if lost {
            return Ok(bytes.len());
        }
        self.inner.write_all(&sent)?;
        if cut {
            self.inner.shutdown(Shutdown::Both)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Timeouts for Faulty {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.set_read_timeout(timeout)
    }
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.set_write_timeout(timeout)
    }
}
