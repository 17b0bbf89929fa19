//! Passing a node's memory to a client: two descriptors and a grant over a Unix socket.

use crate::host::ShmGrant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{PidfdFlags, pidfd_open};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;

/// What a client was passed.
#[derive(Debug)]
pub struct Passed {
    /// The node's memory.
    pub memory: OwnedFd,
    /// The node's control page.
    pub control: OwnedFd,
    /// The right to one link.
    pub grant: ShmGrant,
}

/// Why nothing could be passed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The socket failed.
    #[error("cannot pass shared memory over a Unix socket: {0}")]
    Socket(#[from] io::Error),
    /// The peer closed the socket first.
    #[error("the node closed the socket before it passed its memory: its log says why")]
    Closed,
    /// Not what a node sends.
    #[error(
        "the peer sent {bytes} bytes and {files} files, not a grant: is it a Farrow node of this release?"
    )]
    NotAGrant {
        /// Bytes received.
        bytes: usize,
        /// Descriptors received.
        files: usize,
    },
    /// The client is in another container.
    #[error(
        "the client's process is not visible here (another PID namespace): run both in one, or use another transport"
    )]
    Invisible,
}

const MESSAGE_LEN: usize = 24;
const MAGIC: [u8; 8] = *b"FARROWSG";

/// Passes the node's memory and control page with `grant` to the client at the other end of `socket`.
///
/// The message is not encrypted and needs not be: it stays within the kernel.
///
/// # Errors
/// The socket's.
pub fn send_grant(
    socket: &UnixStream,
    memory: BorrowedFd<'_>,
    control: BorrowedFd<'_>,
    grant: &ShmGrant,
) -> Result<(), PassError> {
    let message = encode(grant);
    let files = [memory, control];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let has_room = ancillary.push(SendAncillaryMessage::ScmRights(&files));
    assert!(has_room, "room for two descriptors was made");
    let sent = sendmsg(socket, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)
        .map_err(io::Error::from)?;
    if sent == message.len() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::WriteZero, format!("only {sent} of {MESSAGE_LEN} bytes were taken"))
        .into())
}

/// Receives what [`send_grant`] passed. Waits for it, up to the socket's read timeout.
///
/// # Errors
/// [`PassError`]; descriptors of a message that is refused are closed.
pub fn receive_grant(socket: &UnixStream) -> Result<Passed, PassError> {
    let mut message = [0; MESSAGE_LEN];
    // Room for more than two, so that an odd message is seen to be one and its descriptors are closed.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut message)];
    let received =
        recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).map_err(io::Error::from)?;
    let mut files: Vec<OwnedFd> = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            files.extend(fds);
        }
    }
    let odd = PassError::NotAGrant { bytes: received.bytes, files: files.len() };
    if received.bytes == 0 {
        return Err(PassError::Closed);
    }
    if received.bytes != MESSAGE_LEN {
        return Err(odd);
    }
    let grant = decode(&message).ok_or(odd)?;
    match <[OwnedFd; 2]>::try_from(files) {
        Ok([memory, control]) => Ok(Passed { memory, control, grant }),
        Err(files) => Err(PassError::NotAGrant { bytes: received.bytes, files: files.len() }),
    }
}

/// The pidfd of the process at the other end of `socket`, for [`crate::ShmHost::grant`].
///
/// # Errors
/// The process has ended, or is not visible from here.
pub fn peer_process(socket: &UnixStream) -> Result<OwnedFd, PassError> {
    let credentials = match socket_peercred(socket) {
        Ok(credentials) => credentials,
        // The kernel reports 0 for a process that has no id here, which the type cannot hold.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::SRCH) => return Err(PassError::Invisible),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    if credentials.pid.as_raw_pid() <= 0 {
        return Err(PassError::Invisible);
    }
    let process = pidfd_open(credentials.pid, PidfdFlags::empty()).map_err(io::Error::from)?;
    // If the peer had ended before that, its id could be another's by now; but then its end is closed.
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut fds, Some(&Timespec::default())).map_err(io::Error::from)?;
    if fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP) {
        return Err(PassError::Closed);
    }
    Ok(process)
}

fn encode(grant: &ShmGrant) -> [u8; MESSAGE_LEN] {
    let mut message = [0; MESSAGE_LEN];
    message[..8].copy_from_slice(&MAGIC);
    message[8..12].copy_from_slice(&grant.link.to_le_bytes());
    message[12..16].copy_from_slice(&grant.key.to_le_bytes());
    message[16..].copy_from_slice(&grant.epoch.to_le_bytes());
    message
}

fn decode(message: &[u8; MESSAGE_LEN]) -> Option<ShmGrant> {
    let half = |at: usize| u32::from_le_bytes(message[at..at + 4].try_into().expect("four bytes"));
    let epoch = u64::from_le_bytes(message[16..].try_into().expect("eight bytes"));
    (message[..8] == MAGIC).then_some(ShmGrant { link: half(8), key: half(12), epoch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hugepages, NodeMemory};
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn a_grant_and_two_files_arrive() {
        let (a, b) = UnixStream::pair().unwrap();
        let memory = NodeMemory::create(4096, Hugepages::Off).unwrap();
        let control = NodeMemory::create(8192, Hugepages::Off).unwrap();
        let grant = ShmGrant { link: 7, key: 0xdead_beef, epoch: 1 << 40 };
        send_grant(&a, memory.fd(), control.fd(), &grant).unwrap();
        let passed = receive_grant(&b).unwrap();
        assert_eq!(passed.grant, grant);
        assert_eq!(rustix::fs::fstat(passed.memory.as_fd()).unwrap().st_size, 4096);
        assert_eq!(rustix::fs::fstat(passed.control.as_fd()).unwrap().st_size, 8192);
    }

    #[test]
    fn other_messages_are_refused() {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(&[1; MESSAGE_LEN]).unwrap();
        assert!(matches!(receive_grant(&b), Err(PassError::NotAGrant { bytes: MESSAGE_LEN, files: 0 })));
        a.write_all(&encode(&ShmGrant { link: 0, key: 0, epoch: 0 })).unwrap();
        assert!(matches!(receive_grant(&b), Err(PassError::NotAGrant { bytes: MESSAGE_LEN, files: 0 })));
        drop(a);
        assert!(matches!(receive_grant(&b), Err(PassError::Closed)));
    }

    #[test]
    fn the_peer_of_a_socket_pair_is_this_process() {
        let (a, b) = UnixStream::pair().unwrap();
        assert!(peer_process(&a).is_ok());
        drop(b);
        assert!(matches!(peer_process(&a), Err(PassError::Closed)));
    }
}
