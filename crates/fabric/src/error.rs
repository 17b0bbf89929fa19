//! Why a chain failed, and whether any of it may have happened.

use farrow_layout::NodeId;
use std::fmt;

/// Whether a failed chain may have changed remote memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// No verb of the chain executed or ever will.
    None,
    /// Any prefix of the chain may have executed, or may still execute until the node has fenced the link.
    Maybe,
}

/// The reason of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The memory key is not, or no longer, valid.
    WrongKey,
    /// The verb reaches outside of the memory that the key covers.
    OutOfBounds,
    /// An atomic or a word READ on an address that is not a multiple of 8.
    Misaligned,
    /// The chain cannot be posted as it is: empty, or a segment longer than its buffer.
    Malformed,
    /// The node broke this link: the cluster moved on to another epoch.
    Fenced,
    /// The node, or the path to it, is gone.
    PeerLost,
    /// The node's lease ended, so it may have been replaced.
    LeaseExpired,
    /// An earlier chain of this link failed, or the link was closed.
    LinkDown,
    /// The provider's own code, where it means none of the above.
    Provider(i32),
}

/// A chain that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{node}: {why}{}", match .effect { Effect::None => " (nothing was executed)", Effect::Maybe => " (it may have been executed)" })]
pub struct VerbError {
    /// The node at the other end of the link.
    pub node: NodeId,
    /// What may be assumed of remote memory.
    pub effect: Effect,
    /// The reason.
    pub why: Why,
}

impl VerbError {
    /// A chain of which no verb executed.
    pub fn refused(node: NodeId, why: Why) -> VerbError {
        VerbError { node, effect: Effect::None, why }
    }

    /// A chain of which any prefix may have executed.
    pub fn maybe(node: NodeId, why: Why) -> VerbError {
        VerbError { node, effect: Effect::Maybe, why }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::WrongKey => "memory key refused",
            Why::OutOfBounds => "address outside of the node's memory",
            Why::Misaligned => "atomic on an address that is not a multiple of 8",
            Why::Malformed => "chain is malformed",
            Why::Fenced => "link fenced: the cluster moved on to another epoch",
            Why::PeerLost => "node or path lost",
            Why::LeaseExpired => "node's lease expired",
            Why::LinkDown => "link is down",
            Why::Provider(code) => return write!(f, "provider error {code}"),
        })
    }
}
