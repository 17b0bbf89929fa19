//! A connection: TCP or Unix, shared by the thread that serves it and whoever must cut it.

use farrow_control::Timeouts;
use farrow_daemon::serve_over;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// A connected stream. Clones are the same connection.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Tcp(Arc<TcpStream>),
    Unix(Arc<UnixStream>),
}

impl Wire {
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Wire> {
        serve_over(&stream)?;
        Ok(Wire::Tcp(Arc::new(stream)))
    }

    pub(crate) fn unix(stream: UnixStream) -> Wire {
        Wire::Unix(Arc::new(stream))
    }

    /// The stream, if descriptors can be passed over it.
    pub(crate) fn as_unix(&self) -> Option<&UnixStream> {
        match self {
            Wire::Tcp(_) => None,
            Wire::Unix(stream) => Some(stream),
        }
    }

    /// Ends the connection; whoever waits on it is woken. Fine if it has ended already.
    pub(crate) fn cut(&self) {
        let _ = match self {
            Wire::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Wire::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wire::Tcp(stream) => match stream.peer_addr() {
                Ok(peer) => write!(f, "{peer}"),
                Err(_) => f.write_str("a TCP peer that is gone"),
            },
            Wire::Unix(_) => f.write_str("this host"),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => (&**stream).read(bytes),
            Wire::Unix(stream) => (&**stream).read(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => (&**stream).write(bytes),
            Wire::Unix(stream) => (&**stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Timeouts for Wire {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Wire::Tcp(stream) => stream.set_read_timeout(timeout),
            Wire::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Wire::Tcp(stream) => stream.set_write_timeout(timeout),
            Wire::Unix(stream) => stream.set_write_timeout(timeout),
        }
    }
}
