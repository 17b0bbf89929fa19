//! What an operation may answer besides its result, and what may be assumed then.

use crate::Version;
use farrow_fabric::{Effect, OutOfBuffers, VerbError};
use farrow_protocol::{Failure, ProtocolError};
use std::time::Duration;

/// Why an operation has no result. An absent key is not an error: it is `None` or `false`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key is empty or longer than 1024 bytes. Nothing was done.
    #[error("a key has 1 to 1024 bytes, this one {len}")]
    BadKey {
        /// Its length.
        len: usize,
    },
    /// Key and value do not fit a block. Nothing was done.
    #[error("key and value of {len} bytes do not fit: at most {max} (cluster.block_size less a header)")]
    TooLarge {
        /// Their length together.
        len: usize,
        /// The most that fits.
        max: usize,
    },
    /// The condition did not hold. Nothing was changed.
    #[error("{0}")]
    Rejected(Rejected),
    /// The operation may have taken effect, or may still. Read the key to find out.
    #[error("outcome unknown: {why} (the write may have taken effect; read the key to find out)")]
    Unknown {
        /// What happened.
        why: String,
    },
    /// The operation was not carried out, and will not be; it may be tried again.
    #[error("unavailable: {why}")]
    Unavailable {
        /// What happened.
        why: String,
    },
    /// So many nodes were lost that what is written might be lost with the next one, and the application has not allowed that
    /// ([`crate::Options::allow_under_replicated`]). Nothing was changed.
    #[error(
        "under-replicated: the key's home has {copies} of at least {wanted} copies left \
         (wait until it is restored, or set client.allow_under_replicated)"
    )]
    UnderReplicated {
        /// Copies that are left.
        copies: usize,
        /// The fewest that are written to.
        wanted: usize,
    },
    /// The deadline passed. Of a write that may have taken effect, [`Error::Unknown`] is answered instead.
    #[error("deadline of {after:?} passed")]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// The stored bytes are wrong on every replica, and were not returned.
    #[error("corrupt: {why}")]
    Corrupt {
        /// What is wrong.
        why: String,
    },
    /// No room for the key or the value. Nothing was changed.
    #[error("full: {why}")]
    Full {
        /// What is full, and what to do.
        why: String,
    },
    /// The application's buffer is too short; the value was not copied as a whole.
    #[error("the value has {needed} bytes, the buffer {room}")]
    BufferTooSmall {
        /// Length of the value.
        needed: usize,
        /// Length of the buffer.
        room: usize,
    },
    /// No registered memory for the operation. Nothing was done.
    #[error("{0}")]
    OutOfBuffers(#[from] OutOfBuffers),
    /// The client has been closed.
    #[error("the client has been closed")]
    Closed,
}

/// Why a condition did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The key is there.
    #[error("the key is there already, as version {0}")]
    Exists(Version),
    /// The key is not there.
    #[error("the key is not there")]
    Absent,
    /// The key has another version.
    #[error("the key has version {0} now")]
    OtherVersion(Version),
}

impl Error {
    /// Whether trying again may help, without more thought. Not for [`Error::Unknown`]: that needs a look first.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Error::Unavailable { .. }
                | Error::TimedOut { .. }
                | Error::OutOfBuffers(_)
                | Error::UnderReplicated { .. }
        )
    }

    /// A short name for counters and `--json`.
    pub fn label(&self) -> &'static str {
        match self {
            Error::BadKey { .. } => "bad_key",
            Error::TooLarge { .. } => "too_large",
            Error::Rejected(_) => "rejected",
            Error::Unknown { .. } => "unknown",
            Error::Unavailable { .. } => "unavailable",
            Error::UnderReplicated { .. } => "under_replicated",
            Error::TimedOut { .. } => "timed_out",
            Error::Corrupt { .. } => "corrupt",
            Error::Full { .. } => "full",
            Error::BufferTooSmall { .. } => "buffer_too_small",
            Error::OutOfBuffers(_) => "out_of_buffers",
            Error::Closed => "closed",
        }
    }

    /// What a failed protocol means to the application. The one place where this is decided.
    pub(crate) fn of(failure: Failure, is_write: bool) -> Error {
        let why = failure.error.to_string();
        if is_write && failure.effect == Effect::Maybe {
            // What is said of one link's effect is not true of the operation.
            let why = match failure.error {
                ProtocolError::Link(VerbError { node, why, .. }) => format!("{node}: {why}"),
                _ => why,
            };
            return Error::Unknown { why };
        }
        match failure.error {
            ProtocolError::Link(_)
            | ProtocolError::Closed
            | ProtocolError::Contended { .. }
            | ProtocolError::NotFenced { .. } => Error::Unavailable { why },
            ProtocolError::Overtaken { .. } => Error::Unknown { why },
            ProtocolError::IndexFull => Error::Full { why },
            ProtocolError::Corrupt { .. } | ProtocolError::WildWord { .. } => Error::Corrupt { why },
            ProtocolError::NoBuffers(e) => Error::OutOfBuffers(e),
            ProtocolError::BufferTooSmall { needed, room } => Error::BufferTooSmall { needed, room },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_fabric::Why;
    use farrow_layout::NodeId;

    #[test]
    fn a_write_that_may_have_happened_is_unknown_whatever_broke() {
        let link = VerbError::maybe(NodeId(1), Why::PeerLost);
        for error in
            [ProtocolError::Link(link), ProtocolError::Contended { attempts: 3 }, ProtocolError::IndexFull]
        {
            let e = Error::of(Failure::maybe(error), true);
            assert!(matches!(e, Error::Unknown { .. }), "{e}");
            assert!(!e.is_retryable());
        }
    }

    #[test]
    fn an_unknown_outcome_does_not_say_that_nothing_was_executed() {
        let link = VerbError::refused(NodeId(1), Why::PeerLost);
        let e = Error::of(Failure::maybe(link), true);
        assert!(!e.to_string().contains("nothing was executed"), "{e}");
    }

    #[test]
    fn a_read_is_never_unknown() {
        let link = VerbError::maybe(NodeId(1), Why::PeerLost);
        let e = Error::of(Failure::maybe(link), false);
        assert!(matches!(e, Error::Unavailable { .. }) && e.is_retryable());
    }

    #[test]
    fn what_did_not_happen_says_why() {
        let e = Error::of(Failure::harmless(ProtocolError::IndexFull), true);
        assert!(matches!(e, Error::Full { .. }));
    }
}
