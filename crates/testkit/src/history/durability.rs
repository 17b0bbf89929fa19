//! Whether what is left at the end holds everything that was acknowledged.
//!
//! The check is linear in the history and needs no search, so it suits long runs with many keys. It finds lost,
//! resurrected and invented values. It raises no false alarm, but it does not judge the reads in between: for that
//! add the final states with [`History::push_final_reads`] and ask [`linear::check`](crate::linear::check).

use std::collections::BTreeMap;
use std::fmt;

use super::{Answer, History, Kind, Operation, Outcome, ValueId, key_text};

/// What was looked at in a check that found nothing missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Keys of the history.
    pub keys: usize,
    /// Writes that certainly took effect: acknowledged, or seen by a reader.
    pub certain_writes: usize,
}

/// A key whose final state cannot follow from its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The key.
    pub key: Vec<u8>,
    /// What is wrong with it.
    pub cause: Cause,
}

/// What is wrong with a final state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing is there, although this write certainly took effect and no delete can have come after it.
    Vanished(Operation),
    /// An older value is there: it was in place before `newer` began, and `newer` certainly replaced or removed it.
    Resurrected {
        /// The value that is there.
        value: ValueId,
        /// The latest operation that must have replaced or removed it.
        newer: Operation,
    },
    /// A value is there that no operation on this key can have written.
    Invented(ValueId),
    /// The key has writes that certainly took effect, but its final state was not given.
    NotRead,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: ", key_text(&self.key))?;
        match &self.cause {
            Cause::Vanished(write) => write!(
                f,
                "nothing is left, but client {}'s `{write}`, begun at {} ns, took effect and no later delete did",
                write.client, write.invoked_ns
            ),
            Cause::Resurrected { value, newer } => write!(
                f,
                "{value} is there again, but client {}'s `{newer}`, begun at {} ns, came after it",
                newer.client, newer.invoked_ns
            ),
            Cause::Invented(value) => write!(f, "{value} is there, which no operation can have written"),
            Cause::NotRead => write!(f, "has acknowledged writes, but its final state is missing"),
        }
    }
}

/// Checks that for each key of the history every write that certainly took effect, or a later one, is what `finals`
/// holds. The final states must have been read after every other operation had returned.
///
/// # Errors
/// Every key that fails, in the order of keys.
pub fn check(history: &History, finals: &BTreeMap<Vec<u8>, Option<ValueId>>) -> Result<Report, Vec<Loss>> {
    let keys = history.by_key();
    let mut losses = Vec::new();
    let mut certain_writes = 0;
    for (&key, operations) in &keys {
        let past = Past::of(operations);
        certain_writes += past.certain_writes;
        let cause = match finals.get(key) {
            None if past.certain_writes > 0 => Some(Cause::NotRead),
            None => None,
            Some(None) => past.why_not_absent(),
            Some(Some(value)) => past.why_not(*value),
        };
        losses.extend(cause.map(|cause| Loss { key: key.to_vec(), cause }));
    }
    for (key, value) in finals {
        if let (Some(value), false) = (value, keys.contains_key(key.as_slice())) {
            losses.push(Loss { key: key.clone(), cause: Cause::Invented(*value) });
        }
    }
    losses.sort_by(|a, b| a.key.cmp(&b.key));
    if losses.is_empty() { Ok(Report { keys: keys.len(), certain_writes }) } else { Err(losses) }
}

/// What one key's history says about its end.
struct Past<'a> {
    /// For each value that may have been written: by when it was in place, if that is known.
    in_place_ns: BTreeMap<ValueId, Option<u64>>,
    /// Operations after which, at some moment, another state than before was certain: effective writes with the
    /// value they leave, answered deletes with `None`.
    certain: Vec<(&'a Operation, Option<ValueId>)>,
    /// The latest end of a delete that may have removed something. Unknown deletes never end.
    last_delete_ns: Option<u64>,
    certain_writes: usize,
}

impl<'a> Past<'a> {
    fn of(operations: &[&'a Operation]) -> Self {
        let mut seen_ns: BTreeMap<ValueId, u64> = BTreeMap::new();
        for operation in operations {
            if let Outcome::Ok { returned_ns, answer: Answer::Value(Some(value)) } = operation.outcome {
                let first = seen_ns.entry(value).or_insert(returned_ns);
                *first = returned_ns.min(*first);
            }
        }
        let mut past = Self {
            in_place_ns: BTreeMap::new(),
            certain: Vec::new(),
            last_delete_ns: None,
            certain_writes: 0,
        };
        for &operation in operations {
            if let Some(value) = operation.kind.written() {
                past.add_write(operation, value, seen_ns.get(&value).copied());
            } else if operation.kind.deletes() {
                past.add_delete(operation);
            }
        }
        past
    }

    fn add_write(&mut self, write: &'a Operation, value: ValueId, seen_ns: Option<u64>) {
        let acknowledged_ns = match write.outcome {
            Outcome::Ok { returned_ns, answer: Answer::Applied } => Some(returned_ns),
            Outcome::Unknown => None,
            // Seen by a reader or not, the client was told that it has no effect.
            Outcome::Ok { .. } | Outcome::Failed => return,
        };
        let in_place_ns = match (acknowledged_ns, seen_ns) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.in_place_ns.insert(value, in_place_ns);
        if in_place_ns.is_some() {
            self.certain.push((write, Some(value)));
            self.certain_writes += 1;
        }
    }

    fn add_delete(&mut self, delete: &'a Operation) {
        let (end_ns, may_remove) = match (delete.kind, delete.outcome) {
            (_, Outcome::Failed) | (_, Outcome::Ok { answer: Answer::Refused, .. }) => return,
            (_, Outcome::Unknown) => (u64::MAX, true),
            (Kind::Delete, Outcome::Ok { returned_ns, answer: Answer::Deleted(Some(false)) }) => {
                (returned_ns, false)
            }
            (_, Outcome::Ok { returned_ns, .. }) => (returned_ns, true),
        };
        if delete.outcome != Outcome::Unknown {
            self.certain.push((delete, None));
        }
        if may_remove {
            self.last_delete_ns = self.last_delete_ns.max(Some(end_ns));
        }
    }

    fn why_not_absent(&self) -> Option<Cause> {
        let last_write = self
            .certain
            .iter()
            .filter(|(_, leaves)| leaves.is_some())
            .map(|(operation, _)| *operation)
            .max_by_key(|operation| operation.invoked_ns)?;
        let covered = self.last_delete_ns.is_some_and(|end_ns| end_ns >= last_write.invoked_ns);
        (!covered).then(|| Cause::Vanished(last_write.clone()))
    }

    fn why_not(&self, value: ValueId) -> Option<Cause> {
        let Some(in_place_ns) = self.in_place_ns.get(&value) else {
            return Some(Cause::Invented(value));
        };
        let in_place_ns = (*in_place_ns)?;
        self.certain
            .iter()
            .filter(|(operation, leaves)| *leaves != Some(value) && operation.invoked_ns > in_place_ns)
            .map(|(operation, _)| *operation)
            .max_by_key(|operation| operation.invoked_ns)
            .map(|newer| Cause::Resurrected { value, newer: newer.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"k";

    fn operation(kind: Kind, invoked_ns: u64, outcome: Outcome) -> Operation {
        Operation { client: 0, key: KEY.to_vec(), kind, invoked_ns, outcome }
    }

    fn put(value: u64, from: u64, to: u64) -> Operation {
        let outcome = Outcome::Ok { returned_ns: to, answer: Answer::Applied };
        operation(Kind::Put { value: ValueId(value) }, from, outcome)
    }

    fn lost_put(value: u64, from: u64) -> Operation {
        operation(Kind::Put { value: ValueId(value) }, from, Outcome::Unknown)
    }

    fn get(value: u64, from: u64, to: u64) -> Operation {
        let answer = Answer::Value(Some(ValueId(value)));
        operation(Kind::Get, from, Outcome::Ok { returned_ns: to, answer })
    }

    fn delete(removed: Option<bool>, from: u64, to: u64) -> Operation {
        operation(Kind::Delete, from, Outcome::Ok { returned_ns: to, answer: Answer::Deleted(removed) })
    }

    fn cause(operations: &[Operation], last: Option<u64>) -> Option<Cause> {
        let finals = BTreeMap::from([(KEY.to_vec(), last.map(ValueId))]);
        match check(&History::new(operations.to_vec()), &finals) {
            Ok(_) => None,
            Err(losses) => {
                assert_eq!(losses.len(), 1);
                Some(losses[0].cause.clone())
            }
        }
    }

    #[test]
    fn the_last_acknowledged_write_must_be_there() {
        let operations = [put(1, 0, 1), put(2, 2, 3)];
        assert_eq!(cause(&operations, Some(2)), None);
        assert_eq!(
            cause(&operations, Some(1)),
            Some(Cause::Resurrected { value: ValueId(1), newer: operations[1].clone() })
        );
        assert_eq!(cause(&operations, None), Some(Cause::Vanished(operations[1].clone())));
        assert_eq!(cause(&operations, Some(3)), Some(Cause::Invented(ValueId(3))));
    }

    #[test]
    fn either_of_two_concurrent_writes_may_be_last_even_if_they_only_touch() {
        let operations = [put(1, 0, 5), put(2, 5, 9)];
        assert_eq!(cause(&operations, Some(1)), None);
        assert_eq!(cause(&operations, Some(2)), None);
    }

    #[test]
    fn an_unknown_write_may_win_late_or_never() {
        let operations = [lost_put(1, 0), put(2, 5, 6)];
        assert_eq!(cause(&operations, Some(1)), None);
        assert_eq!(cause(&operations, Some(2)), None);
    }

    #[test]
    fn an_unknown_write_that_was_read_counts_from_then_on() {
        let read_before = [lost_put(1, 0), get(1, 2, 3), put(2, 5, 6)];
        assert!(matches!(cause(&read_before, Some(1)), Some(Cause::Resurrected { .. })));
        let read_only = [lost_put(1, 0), get(1, 2, 3)];
        assert_eq!(cause(&read_only, None), Some(Cause::Vanished(read_only[0].clone())));
        let after_older = [put(2, 0, 1), lost_put(1, 2), get(1, 3, 4)];
        assert!(matches!(cause(&after_older, Some(2)), Some(Cause::Resurrected { .. })));
    }

    #[test]
    fn a_delete_covers_what_it_may_have_followed() {
        assert_eq!(cause(&[put(1, 0, 4), delete(Some(true), 2, 3)], None), None);
        assert_eq!(cause(&[put(1, 0, 4), delete(None, 5, 6)], None), None);
        let too_early = [delete(None, 0, 1), put(1, 2, 3)];
        assert!(matches!(cause(&too_early, None), Some(Cause::Vanished(_))));
        let removed_nothing = [put(1, 0, 4), delete(Some(false), 2, 3)];
        assert!(matches!(cause(&removed_nothing, None), Some(Cause::Vanished(_))));
        let unknown = operation(Kind::Delete, 1, Outcome::Unknown);
        assert_eq!(cause(&[unknown, put(1, 2, 3)], None), None);
    }

    #[test]
    fn a_deleted_value_must_not_return() {
        for removed in [Some(true), Some(false), None] {
            let operations = [put(1, 0, 1), delete(removed, 2, 3)];
            assert!(matches!(cause(&operations, Some(1)), Some(Cause::Resurrected { .. })), "{removed:?}");
        }
    }

    #[test]
    fn a_write_that_was_refused_or_failed_must_not_be_there() {
        let refused = Outcome::Ok { returned_ns: 3, answer: Answer::Refused };
        let operations = [put(1, 0, 1), operation(Kind::PutIfAbsent { value: ValueId(2) }, 2, refused)];
        assert_eq!(cause(&operations, Some(2)), Some(Cause::Invented(ValueId(2))));
        let failed = [operation(Kind::Put { value: ValueId(2) }, 2, Outcome::Failed)];
        assert_eq!(cause(&failed, Some(2)), Some(Cause::Invented(ValueId(2))));
        assert_eq!(cause(&failed, None), None);
    }

    #[test]
    fn a_key_without_a_final_state_is_told_and_so_is_a_key_nobody_wrote() {
        let history = History::new(vec![put(1, 0, 1)]);
        let losses = check(&history, &BTreeMap::from([(b"z".to_vec(), Some(ValueId(9)))])).unwrap_err();
        let causes: Vec<&Cause> = losses.iter().map(|loss| &loss.cause).collect();
        assert_eq!(causes, [&Cause::NotRead, &Cause::Invented(ValueId(9))]);
        assert_eq!(losses[1].to_string(), "key z: v9 is there, which no operation can have written");
    }

    #[test]
    fn the_report_counts() {
        let history = History::new(vec![put(1, 0, 1), lost_put(2, 0), get(1, 2, 3)]);
        let finals = BTreeMap::from([(KEY.to_vec(), Some(ValueId(2)))]);
        assert_eq!(check(&history, &finals), Ok(Report { keys: 1, certain_writes: 1 }));
    }
}
