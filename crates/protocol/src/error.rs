//! Why an operation ended without an answer, and whether it may have happened.

use crate::view::InDoubt;
use farrow_fabric::{Effect, OutOfBuffers, VerbError};
use farrow_layout::{EntryError, Word};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A member of the home did not answer.
    #[error("{0}")]
    Link(VerbError),
    /// The home is closed: what is committed can be read, and this would have had to change something.
    #[error("the home is closed for a change of view: nothing can be changed until it opens again")]
    Closed,
    /// Both of the key's buckets are full.
    #[error("the index is full here: both buckets of the key hold no free slot (raise cluster.max_keys)")]
    IndexFull,
    /// Too many others changed the same slot.
    #[error("gave up after {attempts} attempts: others keep changing this key")]
    Contended {
        /// Attempts made.
        attempts: u32,
    },
    /// A committed entry whose bytes are wrong on every copy.
    #[error("corrupt entry behind {word}: {why}")]
    Corrupt {
        /// The slot's word.
        word: Word,
        /// What is wrong.
        why: EntryError,
    },
    /// A word that points out of the block area.
    #[error("corrupt slot: {word} points outside of the home's blocks")]
    WildWord {
        /// The slot's word.
        word: Word,
    },
    /// A slot changed while its home was closed: somebody writes past the fence.
    #[error("slot {slot} changed while its home was closed for a change of view: a node did not fence")]
    NotFenced {
        /// The slot's index in its partition.
        slot: u64,
    },
    /// The view was lost, and too much has happened to the slot since to tell whether the change took place.
    #[error(
        "overtaken in a change of view: others changed the slot, and whether {word} was ever there cannot be told"
    )]
    Overtaken {
        /// The word of the change.
        word: Word,
    },
    /// No local memory for the operation.
    #[error("{0}")]
    NoBuffers(#[from] OutOfBuffers),
    /// The application's buffer is too short for the value.
    #[error("the value has {needed} bytes, the buffer {room}")]
    BufferTooSmall {
        /// Length of the value.
        needed: usize,
        /// Length of the buffer.
        room: usize,
    },
}

/// An operation that ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// What went wrong.
    pub error: ProtocolError,
    /// Whether the operation may have changed the key.
    pub effect: Effect,
    /// The change that may have happened or may happen yet, for whoever settles it in a later view.
    pub in_doubt: Option<InDoubt>,
}

impl Failure {
    /// A failure before anything was published.
    pub fn harmless(error: impl Into<ProtocolError>) -> Failure {
        Failure { error: error.into(), effect: Effect::None, in_doubt: None }
    }

    /// A failure after which the change may be visible, or become so.
    pub fn maybe(error: impl Into<ProtocolError>) -> Failure {
        Failure { error: error.into(), effect: Effect::Maybe, in_doubt: None }
    }

    /// The same failure of an operation whose last change of a slot was `change`.
    pub fn leaving(self, change: Option<InDoubt>) -> Failure {
        Failure { in_doubt: change, ..self }
    }

    /// Whether a link was lost.
    pub fn is_of_link(&self) -> bool {
        matches!(self.error, ProtocolError::Link(_))
    }

    /// Whether the view was in the way, so that another one may do better: a link was lost, or the home is closed.
    pub fn is_of_view(&self) -> bool {
        matches!(self.error, ProtocolError::Link(_) | ProtocolError::Closed)
    }

    /// The same failure in an operation that has published something before.
    pub fn after(self, published: bool) -> Failure {
        if published { Failure { effect: Effect::Maybe, ..self } } else { self }
    }
}

impl From<VerbError> for ProtocolError {
    fn from(e: VerbError) -> Self {
        ProtocolError::Link(e)
    }
}

impl From<OutOfBuffers> for Failure {
    fn from(e: OutOfBuffers) -> Self {
        Failure::harmless(e)
    }
}
