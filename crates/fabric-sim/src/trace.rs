//! What happened, in order: always as a hash, on demand as lines.

use crate::Access;
use farrow_fabric::Nanos;
use std::fmt;

/// A run's events. Two runs are the same if their hashes are.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<TraceLine>>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceLine {
    /// A piece of a verb was executed.
    Access {
        /// What it did.
        access: Access,
        /// The first words of the piece, as they are now: one or two, or none of a piece that is less than one.
        words: [Option<u64>; 2],
    },
    /// The answer of a chain reached its client.
    Answered {
        /// When.
        now: Nanos,
        /// Whose.
        client: usize,
        /// The link's number.
        link: usize,
    },
    /// A task was polled.
    Polled {
        /// When.
        now: Nanos,
        /// The task's number.
        task: usize,
    },
    /// A timer went off.
    Fired {
        /// When.
        now: Nanos,
    },
    /// The test or a fault had something to say.
    Note {
        /// When.
        now: Nanos,
        /// What.
        text: String,
    },
}

impl Trace {
    pub(crate) fn new(record: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: record.then(Vec::new) }
    }

    /// Remarks are not part of the run: they are neither counted nor hashed.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> TraceLine) {
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn push(&mut self, line: TraceLine, digest: [u64; 4]) {
        self.events += 1;
        for part in digest {
            self.hash = (self.hash ^ part).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The events, if they were recorded.
    pub fn lines(&self) -> &[TraceLine] {
        self.lines.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for TraceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceLine::Access { access: a, .. } => {
                write!(f, "{:>7}  client {} {} {} {:?}", a.now.0, a.client, a.node, a.at, a.kind)
            }
            TraceLine::Answered { now, client, link } => {
                write!(f, "{:>7}  client {client} <- link {link}", now.0)
            }
            TraceLine::Polled { now, task } => write!(f, "{:>7}  task {task}", now.0),
            TraceLine::Fired { now } => write!(f, "{:>7}  timer", now.0),
            TraceLine::Note { now, text } => write!(f, "{:>7}  {text}", now.0),
        }
    }
}
