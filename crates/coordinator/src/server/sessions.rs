//! All connections to a coordinator: a thread for each.

use super::StartError;
use super::desk::Desk;
use farrow_control::coordination::{Ask, Denial, Tell};
use farrow_control::{Channel, Error, Limits, Secret};
use farrow_daemon::serve_over;
use rustix::net::Shutdown;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Connections at a time: a node has two, a client process three.
const MAX_SESSIONS: usize = 4096;
/// Connections that have not proved the secret yet. Where there are so many, the oldest make room.
const MAX_ENTERING: usize = 128;
/// After an error of `accept` that may last, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A session holds a message and little else.
const STACK_LEN: usize = 512 << 10;

/// A listening socket and the connections that came of it.
#[derive(Debug)]
pub(crate) struct Sessions {
    listener: TcpListener,
    address: SocketAddr,
    is_closed: AtomicBool,
    all: Mutex<BTreeMap<u64, Seat>>,
    left: Condvar,
}

#[derive(Debug)]
struct Seat {
    stream: TcpStream,
    has_entered: bool,
}

impl Sessions {
    pub(crate) fn bind(listen: &str) -> Result<Arc<Sessions>, StartError> {
        let address = listen.to_owned();
        let listener = TcpListener::bind(listen).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::AddressInUse { address: address.clone() },
            _ => StartError::Listen { address: address.clone(), source },
        })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let is_closed = AtomicBool::new(false);
        Ok(Arc::new(Sessions { listener, address, is_closed, all: Mutex::default(), left: Condvar::new() }))
    }

    /// Where it listens, with the port that the system chose if it was to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves whoever connects, until [`Sessions::close`].
    pub(crate) fn accept(self: &Arc<Self>, desk: &Arc<Desk>, secret: &Secret) {
        let mut next = 0;
        while !self.is_closed.load(Ordering::Acquire) {
            match self.listener.accept() {
                Ok((stream, from)) => {
                    next += 1;
                    if let Err(error) = self.enter(next, stream, desk, secret) {
                        tracing::warn!(%from, %error, "cannot serve a connection");
                    }
                }
                Err(_) if self.is_closed.load(Ordering::Acquire) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!(%error, "cannot take a connection; trying again");
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn enter(
        self: &Arc<Self>,
        id: u64,
        stream: TcpStream,
        desk: &Arc<Desk>,
        secret: &Secret,
    ) -> io::Result<()> {
        serve_over(&stream)?;
        {
            let mut all = self.all();
            let entering = all.values().filter(|seat| !seat.has_entered);
            if entering.count() >= MAX_ENTERING
                && let Some(oldest) = all.values().find(|seat| !seat.has_entered)
            {
                cut(&oldest.stream);
            }
            if all.len() >= MAX_SESSIONS {
                return Err(io::Error::other(format!("there are {MAX_SESSIONS} already")));
            }
            all.insert(id, Seat { stream: stream.try_clone()?, has_entered: false });
        }
        let seated = Seated { sessions: self.clone(), id };
        let (desk, secret) = (desk.clone(), secret.clone());
        let builder = thread::Builder::new().name(format!("farrow-session-{id}")).stack_size(STACK_LEN);
        builder.spawn(move || {
            let from = stream.peer_addr();
            match converse(stream, &desk, &secret, &seated) {
                Ok(()) | Err(Error::Closed) => {}
                Err(error @ (Error::WrongSecret | Error::VersionMismatch { .. } | Error::Tampered)) => {
                    tracing::warn!(?from, %error, "refused a connection");
                }
                Err(error) => tracing::debug!(?from, %error, "a connection ended"),
            }
        })?;
        Ok(())
    }

    /// Ends all connections, and lets no other in.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        // On Linux, shutting a listening socket down wakes whoever accepts.
        if let Err(error) = rustix::net::shutdown(&self.listener, Shutdown::Both) {
            tracing::warn!(%error, "cannot shut the listening socket down");
        }
        self.all().values().for_each(|seat| cut(&seat.stream));
    }

    /// Waits until all connections have ended; after [`Sessions::close`], when nobody accepts any more.
    pub(crate) fn wait_until_empty(&self) {
        let all = self.all();
        all.values().for_each(|seat| cut(&seat.stream));
        let _empty = self.left.wait_while(all, |all| !all.is_empty()).unwrap_or_else(PoisonError::into_inner);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Seat>> {
        // Each change is one step; a panic leaves none half done.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; it is given up with this.
struct Seated {
    sessions: Arc<Sessions>,
    id: u64,
}

impl Drop for Seated {
    fn drop(&mut self) {
        if let Some(seat) = self.sessions.all().remove(&self.id) {
            cut(&seat.stream);
        }
        self.sessions.left.notify_all();
    }
}

/// Fine if it has ended already.
fn cut(stream: &TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn converse(stream: TcpStream, desk: &Desk, secret: &Secret, seated: &Seated) -> Result<(), Error> {
    let mut channel = Channel::accept(stream, secret, Limits::default())?;
    if let Some(seat) = seated.sessions.all().get_mut(&seated.id) {
        seat.has_entered = true;
    }
    let mut is_known = false;
    loop {
        let ask: Ask = channel.recv()?;
        is_known |= matches!(ask, Ask::Hello { .. });
        let tell = match is_known {
            true => desk.answer(&ask),
            false => Tell::Denied(Denial::Bad("say Hello first".into())),
        };
        channel.send(&tell)?;
    }
}
