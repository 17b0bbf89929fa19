//! How a daemon serves over TCP.

use rustix::net::sockopt;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

/// A host that vanished without a word is given up after about 25 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// Makes an accepted stream fit for a session: replies leave at once, and it ends when the peer's host does.
///
/// # Errors
/// The system's; the stream is of no use then.
pub fn serve_over(stream: &TcpStream) -> io::Result<()> {
    // Replies are small: Nagle would hold each back for an acknowledgement.
    stream.set_nodelay(true)?;
    // A session holds what its peer was given: it must end when the peer's host does.
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}
