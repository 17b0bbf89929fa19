//! Why an order did not come to its end.

use farrow_control::coordination::Denial;
use farrow_protocol::Failure;

/// Why an order did not come to its end. Whatever it is, the order may be begun anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The coordinator said no.
    #[error("{0}")]
    Denied(#[from] Denial),
    /// No coordinator answers. What was asked may have been done.
    #[error("{0}")]
    Coordinator(String),
    /// A node does not answer, or said no.
    #[error("{0}")]
    Node(String),
    /// A node's memory cannot be reached any more.
    #[error("{0}")]
    Memory(#[from] Failure),
    /// Not now: the map is between two states.
    #[error("{0}")]
    NotNow(String),
}

impl AgentError {
    /// Whether the order is another agent's by now, or done: nothing is left to do here.
    pub fn is_superseded(&self) -> bool {
        matches!(self, AgentError::Denied(Denial::NotYours(_)))
    }

    /// Whether others are at it, and it is worth asking again in a moment.
    pub fn is_busy(&self) -> bool {
        matches!(self, AgentError::Denied(Denial::Busy))
    }
}
