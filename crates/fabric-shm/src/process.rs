//! A client's process, as the daemon sees it: alive, dead, or to be killed.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use std::io;
use std::time::Duration;

/// A process by its pidfd: it cannot be mistaken for a later one of the same id.
#[derive(Debug)]
pub(crate) struct Process(OwnedFd);

impl Process {
    pub(crate) fn new(pidfd: OwnedFd) -> Process {
        Process(pidfd)
    }

    /// Whether all of its threads have ended, within `at_most`.
    pub(crate) fn is_dead_within(&self, at_most: Duration) -> bool {
        let timeout = Timespec::try_from(at_most).expect("bounds here are seconds");
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&timeout)), Ok(n) if n > 0)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead_within(Duration::ZERO)
    }

    /// Kills it; fine if it is dead already.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(self.0.as_fd(), Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
