//! The two sockets of a daemon: TCP for everybody, a Unix socket for this host.

use crate::StartError;
use crate::wire::Wire;
use rustix::fd::AsFd;
use rustix::net::Shutdown;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;

/// Both listening sockets. Connections that arrive before anybody accepts wait in the kernel.
#[derive(Debug)]
pub(crate) struct Listeners {
    tcp: TcpListener,
    unix: UnixListener,
    address: SocketAddr,
    shm_socket: String,
}

/// One of the two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    Tcp,
    Unix,
}

impl Listeners {
    /// Listens on `listen`, and on an abstract Unix socket named after the address that this turned out to be.
    pub(crate) fn bind(listen: &str) -> Result<Listeners, StartError> {
        let address = listen.to_owned();
        let tcp = TcpListener::bind(listen).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::AddressInUse { address: address.clone() },
            _ => StartError::Listen { address: address.clone(), source },
        })?;
        let address = tcp.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let name = format!("farrow-{address}");
        let unix = std::os::unix::net::SocketAddr::from_abstract_name(&name)
            .and_then(|at| UnixListener::bind_addr(&at))
            .map_err(|source| StartError::Socket { name: name.clone(), source })?;
        Ok(Listeners { tcp, unix, address, shm_socket: name })
    }

    /// Where the TCP socket listens, with the port that the system chose if it was to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The Unix socket's abstract name.
    pub(crate) fn shm_socket(&self) -> &str {
        &self.shm_socket
    }

    /// Waits for the next connection. Fails for ever once [`Listeners::close`] was called.
    pub(crate) fn accept(&self, door: Door) -> io::Result<Wire> {
        match door {
            Door::Tcp => Wire::tcp(self.tcp.accept()?.0),
            Door::Unix => Ok(Wire::unix(self.unix.accept()?.0)),
        }
    }

    /// Wakes whoever accepts. On Linux, shutting a listening socket down does.
    pub(crate) fn close(&self) {
        for socket in [self.tcp.as_fd(), self.unix.as_fd()] {
            if let Err(error) = rustix::net::shutdown(socket, Shutdown::Both) {
                tracing::warn!(%error, "cannot shut a listening socket down");
            }
        }
    }
}
