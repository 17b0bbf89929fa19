//! One call of a client: what was asked, what was answered, and when.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::key_text;

/// One call of a client and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who called. Only names the operation in explanations: calls of one client may overlap.
    pub client: u32,
    /// The key it was about.
    #[serde(with = "key_text")]
    pub key: Vec<u8>,
    /// What was asked.
    #[serde(flatten)]
    pub kind: Kind,
    /// When the call began: no effect can be earlier.
    pub invoked_ns: u64,
    /// What the client knows of its end.
    pub outcome: Outcome,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Ok { answer, .. } => write!(f, "{} -> {answer}", self.kind),
            Outcome::Failed => write!(f, "{} -> failed", self.kind),
            Outcome::Unknown => write!(f, "{} -> unknown", self.kind),
        }
    }
}

/// What an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Kind {
    /// Read the value. Answered by [`Answer::Value`].
    Get,
    /// Ask whether there is a value. Answered by [`Answer::Present`].
    Exists,
    /// Write, whatever is there. Answered by [`Answer::Applied`].
    Put {
        /// The value written.
        value: ValueId,
    },
    /// Write unless there is a value. Answered by [`Answer::Applied`] (created) or [`Answer::Refused`] (exists).
    PutIfAbsent {
        /// The value written.
        value: ValueId,
    },
    /// Write if there is a value. Answered by [`Answer::Applied`] or [`Answer::Refused`] (absent).
    PutIfPresent {
        /// The value written.
        value: ValueId,
    },
    /// Write if the version is still the one that was read with `read`. Answered by [`Answer::Applied`] or
    /// [`Answer::Refused`] (changed or gone).
    PutIfVersion {
        /// The value the client had read together with the version it sent.
        read: ValueId,
        /// The value written.
        value: ValueId,
    },
    /// Remove. Answered by [`Answer::Deleted`].
    Delete,
    /// Remove if the version is still the one that was read with `read`. Answered by [`Answer::Applied`] or
    /// [`Answer::Refused`].
    DeleteIfVersion {
        /// The value the client had read together with the version it sent.
        read: ValueId,
    },
}

impl Kind {
    /// The value this operation writes if it takes effect.
    pub fn written(&self) -> Option<ValueId> {
        match *self {
            Kind::Put { value }
            | Kind::PutIfAbsent { value }
            | Kind::PutIfPresent { value }
            | Kind::PutIfVersion { value, .. } => Some(value),
            Kind::Get | Kind::Exists | Kind::Delete | Kind::DeleteIfVersion { .. } => None,
        }
    }

    /// Whether this operation leaves the key without a value if it takes effect.
    pub fn deletes(&self) -> bool {
        matches!(self, Kind::Delete | Kind::DeleteIfVersion { .. })
    }

    /// Whether `answer` is an answer to this question at all.
    pub fn admits(&self, answer: Answer) -> bool {
        match self {
            Kind::Get => matches!(answer, Answer::Value(_)),
            Kind::Exists => matches!(answer, Answer::Present(_)),
            Kind::Put { .. } => matches!(answer, Answer::Applied),
            Kind::Delete => matches!(answer, Answer::Deleted(_)),
            Kind::PutIfAbsent { .. }
            | Kind::PutIfPresent { .. }
            | Kind::PutIfVersion { .. }
            | Kind::DeleteIfVersion { .. } => matches!(answer, Answer::Applied | Answer::Refused),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Get => write!(f, "get"),
            Kind::Exists => write!(f, "exists"),
            Kind::Put { value } => write!(f, "put {value}"),
            Kind::PutIfAbsent { value } => write!(f, "put {value} if absent"),
            Kind::PutIfPresent { value } => write!(f, "put {value} if present"),
            Kind::PutIfVersion { read, value } => write!(f, "put {value} if still {read}"),
            Kind::Delete => write!(f, "delete"),
            Kind::DeleteIfVersion { read } => write!(f, "delete if still {read}"),
        }
    }
}

/// What the store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A get found this value, or none.
    Value(Option<ValueId>),
    /// An exists found a value, or none.
    Present(bool),
    /// The write, or the conditional operation, took effect.
    Applied,
    /// The condition did not hold: no effect, and a statement about the state.
    Refused,
    /// A delete is done. `Some(true)`: it removed a value; `Some(false)`: there was none; `None`: the store
    /// does not say.
    Deleted(Option<bool>),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Value(Some(value)) => write!(f, "{value}"),
            Answer::Value(None) => write!(f, "nothing"),
            Answer::Present(true) => write!(f, "yes"),
            Answer::Present(false) => write!(f, "no"),
            Answer::Applied => write!(f, "applied"),
            Answer::Refused => write!(f, "refused"),
            Answer::Deleted(Some(true)) => write!(f, "removed"),
            Answer::Deleted(Some(false)) => write!(f, "nothing there"),
            Answer::Deleted(None) => write!(f, "done"),
        }
    }
}

/// What the client knows of an operation's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The store answered: the effect lies between invocation and return.
    Ok {
        /// When the answer arrived.
        returned_ns: u64,
        /// The answer.
        answer: Answer,
    },
    /// It certainly had no effect and never will.
    Failed,
    /// It may have taken effect at any time after the invocation, may still do so, or never.
    Unknown,
}

impl Outcome {
    /// The answer, if there was one.
    pub fn answer(&self) -> Option<Answer> {
        match *self {
            Outcome::Ok { answer, .. } => Some(answer),
            Outcome::Failed | Outcome::Unknown => None,
        }
    }

    /// When the answer arrived, if there was one.
    pub fn returned_ns(&self) -> Option<u64> {
        match *self {
            Outcome::Ok { returned_ns, .. } => Some(returned_ns),
            Outcome::Failed | Outcome::Unknown => None,
        }
    }
}

/// The identity of a written value: unique within a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(pub u64);

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}
