//! What clients asked a store and what they were told.
//!
//! A history is a set of operations with the interval in which each ran. It says nothing about the store's
//! inside, so the same history can come from processes on sockets, from a simulator or from a file.
//!
//! Values are known by identity: every write of a history writes a value that no other operation writes, named
//! by a [`ValueId`]. What a read observed is then the name of exactly one write. Versions of the store are
//! counters of a slot and mean nothing across slots; a conditional write is therefore recorded with the identity
//! of the value whose version it carried, and judged as a compare-and-swap on identities.
//!
//! All times are nanoseconds of one clock that every recording client shares.

pub mod durability;
mod key_text;
mod lines;
mod operation;
mod recorder;

use std::collections::BTreeMap;

use thiserror::Error;

pub use key_text::key_text;
pub use lines::{Journal, Line, LineError, Pending, read_lines, write_lines};
pub use operation::{Answer, Kind, Operation, Outcome, ValueId};
pub use recorder::{Recorder, Ticket};

/// A recording that cannot be judged: the recorder is wrong, whatever the store did.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// An operation ended before it began.
    #[error(
        "client {client}: `{operation}` on {key} returned at {returned_ns} ns, before its invocation at \
         {invoked_ns} ns; all clients must take their times from one monotonic clock",
        client = .0.client, operation = .0, key = key_text(&.0.key),
        returned_ns = .0.outcome.returned_ns().unwrap_or_default(), invoked_ns = .0.invoked_ns
    )]
    EndsBeforeItBegins(Box<Operation>),
    /// An answer that is none to the question.
    #[error(
        "client {client}: `{operation}` on {key} has an answer of another kind of operation",
        client = .0.client, operation = .0, key = key_text(&.0.key)
    )]
    WrongAnswer(Box<Operation>),
    /// Two operations write the same value.
    #[error(
        "clients {first_client} and {second_client} both write {value}; every write of a history must write a \
         value of its own, or reads cannot be told apart"
    )]
    ValueWrittenTwice {
        /// The value.
        value: ValueId,
        /// Who wrote it in the operation that comes first in the recording.
        first_client: u32,
        /// Who wrote it in a later one.
        second_client: u32,
    },
}

/// Operations of any number of clients on any number of keys, in no particular order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// A history of these operations.
    pub fn new(operations: Vec<Operation>) -> Self {
        Self { operations }
    }

    /// All operations, as they were added.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Adds what another process or thread recorded.
    pub fn merge(&mut self, other: History) {
        self.operations.extend(other.operations);
    }

    /// Adds one operation.
    pub fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// Adds, after everything else, one get per final state: the whole history with its end can then be judged
    /// by [`linear::check`](crate::linear::check). The reads must truly have been made after all others returned.
    ///
    /// Operations with an unknown outcome may still take effect after these reads; that is allowed for.
    pub fn push_final_reads(&mut self, client: u32, finals: &BTreeMap<Vec<u8>, Option<ValueId>>) {
        let last = |operation: &Operation| operation.outcome.returned_ns().max(Some(operation.invoked_ns));
        let end_ns = self.operations.iter().filter_map(last).max().unwrap_or(0);
        let after_ns = end_ns.saturating_add(1);
        for (key, value) in finals {
            let outcome = Outcome::Ok { returned_ns: after_ns, answer: Answer::Value(*value) };
            self.push(Operation { client, key: key.clone(), kind: Kind::Get, invoked_ns: after_ns, outcome });
        }
    }

    /// The operations of each key, in the order of keys.
    pub fn by_key(&self) -> BTreeMap<&[u8], Vec<&Operation>> {
        let mut keys: BTreeMap<&[u8], Vec<&Operation>> = BTreeMap::new();
        for operation in &self.operations {
            keys.entry(&operation.key).or_default().push(operation);
        }
        keys
    }

    /// Checks that the recording can be judged.
    ///
    /// # Errors
    /// The first operation, in the order of recording, that contradicts itself or an earlier one.
    pub fn validate(&self) -> Result<(), Malformed> {
        let mut writers: BTreeMap<ValueId, u32> = BTreeMap::new();
        for operation in &self.operations {
            if let Outcome::Ok { returned_ns, answer } = operation.outcome {
                if returned_ns < operation.invoked_ns {
                    return Err(Malformed::EndsBeforeItBegins(Box::new(operation.clone())));
                }
                if !operation.kind.admits(answer) {
                    return Err(Malformed::WrongAnswer(Box::new(operation.clone())));
                }
            }
            if let Some(value) = operation.kind.written()
                && let Some(first_client) = writers.insert(value, operation.client)
            {
                let second_client = operation.client;
                return Err(Malformed::ValueWrittenTwice { value, first_client, second_client });
            }
        }
        Ok(())
    }
}

impl FromIterator<Operation> for History {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        Self::new(operations.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(kind: Kind, invoked_ns: u64, outcome: Outcome) -> Operation {
        Operation { client: 1, key: b"k".to_vec(), kind, invoked_ns, outcome }
    }

    #[test]
    fn a_sound_recording_is_valid() {
        let returned = |answer| Outcome::Ok { returned_ns: 5, answer };
        let v = ValueId(1);
        let history = History::new(vec![
            operation(Kind::Put { value: v }, 5, returned(Answer::Applied)),
            operation(Kind::Get, 1, returned(Answer::Value(Some(v)))),
            operation(Kind::Delete, 1, returned(Answer::Deleted(None))),
            operation(Kind::PutIfAbsent { value: ValueId(2) }, 9, Outcome::Failed),
            operation(Kind::Delete, 9, Outcome::Unknown),
        ]);
        assert_eq!(history.validate(), Ok(()));
    }

    #[test]
    fn an_end_before_the_beginning_is_refused() {
        let outcome = Outcome::Ok { returned_ns: 4, answer: Answer::Value(None) };
        let refused = History::new(vec![operation(Kind::Get, 5, outcome)]).validate().unwrap_err();
        assert!(matches!(refused, Malformed::EndsBeforeItBegins(_)));
        let text = refused.to_string();
        assert!(text.contains("returned at 4 ns") && text.contains("invocation at 5 ns"), "{text}");
    }

    #[test]
    fn an_answer_to_another_question_is_refused() {
        for (kind, answer) in [
            (Kind::Get, Answer::Present(true)),
            (Kind::Exists, Answer::Value(None)),
            (Kind::Put { value: ValueId(1) }, Answer::Refused),
            (Kind::Delete, Answer::Applied),
            (Kind::DeleteIfVersion { read: ValueId(1) }, Answer::Deleted(None)),
        ] {
            let outcome = Outcome::Ok { returned_ns: 6, answer };
            let refused = History::new(vec![operation(kind, 5, outcome)]).validate();
            assert!(matches!(refused, Err(Malformed::WrongAnswer(_))), "{kind} answered {answer}");
        }
    }

    #[test]
    fn a_value_written_twice_is_refused_even_if_nobody_knows_the_outcome() {
        let kind = Kind::Put { value: ValueId(3) };
        let history = History::new(vec![
            operation(kind, 1, Outcome::Unknown),
            operation(kind, 2, Outcome::Ok { returned_ns: 3, answer: Answer::Applied }),
        ]);
        assert!(matches!(history.validate(), Err(Malformed::ValueWrittenTwice { value: ValueId(3), .. })));
    }

    #[test]
    fn final_reads_come_after_everything_else() {
        let mut history = History::new(vec![
            operation(
                Kind::Put { value: ValueId(1) },
                10,
                Outcome::Ok { returned_ns: 20, answer: Answer::Applied },
            ),
            operation(Kind::Put { value: ValueId(2) }, 30, Outcome::Unknown),
        ]);
        history.push_final_reads(9, &BTreeMap::from([(b"k".to_vec(), Some(ValueId(1)))]));
        let read = history.operations().last().unwrap();
        assert_eq!((read.invoked_ns, read.outcome.returned_ns()), (31, Some(31)));
        assert_eq!(read.outcome.answer(), Some(Answer::Value(Some(ValueId(1)))));
    }
}
