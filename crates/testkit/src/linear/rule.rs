//! What an operation with its answer says about the state of its key: a demand and a change.
//!
//! Values that no get returned and no condition names cannot be told apart by any operation, so they share one
//! state. That quotient is exact, and it makes most unknown writes of a history interchangeable.

use std::collections::BTreeMap;

use crate::history::{Answer, Kind, Operation, Outcome, ValueId};

/// The state of a key, as far as its history can tell states apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State(pub(super) u32);

/// No value. Every key begins so.
pub(super) const ABSENT: State = State(0);
/// Some value that nobody read or named.
const UNNAMED: State = State(1);
const FIRST_NAMED: u32 = 2;

/// What must hold where an operation takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Demand {
    Any,
    Is(State),
    Not(State),
}

/// An operation that may or must be placed in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    demand: Demand,
    leaves: Option<State>,
}

impl Rule {
    /// Whether the operation leaves every state as it is.
    pub(super) fn only_observes(self) -> bool {
        self.leaves.is_none()
    }

    /// The state after the operation, or `None` if it cannot take effect, with its answer, in `state`.
    pub(super) fn apply(self, state: State) -> Option<State> {
        let holds = match self.demand {
            Demand::Any => true,
            Demand::Is(wanted) => state == wanted,
            Demand::Not(refused) => state != refused,
        };
        holds.then_some(self.leaves.unwrap_or(state))
    }
}

/// The values of one key that some operation can tell from others.
pub(super) struct Names(BTreeMap<ValueId, State>);

impl Names {
    pub(super) fn of(operations: &[&Operation]) -> Self {
        let mut names = BTreeMap::new();
        let mut name = |value: ValueId| {
            let next = FIRST_NAMED + u32::try_from(names.len()).expect("fewer than 2^32 operations a key");
            names.entry(value).or_insert(State(next));
        };
        for operation in operations {
            if let Outcome::Ok { answer: Answer::Value(Some(value)), .. } = operation.outcome {
                name(value);
            }
            if let Kind::PutIfVersion { read, .. } | Kind::DeleteIfVersion { read } = operation.kind {
                name(read);
            }
        }
        Self(names)
    }

    /// The rule of an operation. `None` if it says nothing: it failed, or its outcome is unknown and it changes
    /// nothing. The rule of an operation with unknown outcome is that of its taking effect.
    pub(super) fn rule(&self, operation: &Operation) -> Option<Rule> {
        let answer = match operation.outcome {
            Outcome::Ok { answer, .. } => answer,
            Outcome::Failed => return None,
            Outcome::Unknown => match operation.kind {
                Kind::Get | Kind::Exists => return None,
                Kind::Delete => Answer::Deleted(Some(true)),
                _ => Answer::Applied,
            },
        };
        let refused = answer == Answer::Refused;
        let (holds, leaves) = match operation.kind {
            Kind::Get => match answer {
                Answer::Value(Some(value)) => (Demand::Is(self.state(value)), None),
                _ => (Demand::Is(ABSENT), None),
            },
            Kind::Exists if answer == Answer::Present(true) => (Demand::Not(ABSENT), None),
            Kind::Exists => (Demand::Is(ABSENT), None),
            Kind::Put { value } => (Demand::Any, Some(self.state(value))),
            Kind::PutIfAbsent { value } => (Demand::Is(ABSENT), Some(self.state(value))),
            Kind::PutIfPresent { value } => (Demand::Not(ABSENT), Some(self.state(value))),
            Kind::PutIfVersion { read, value } => (Demand::Is(self.state(read)), Some(self.state(value))),
            Kind::DeleteIfVersion { read } => (Demand::Is(self.state(read)), Some(ABSENT)),
            Kind::Delete => match answer {
                Answer::Deleted(Some(true)) => (Demand::Not(ABSENT), Some(ABSENT)),
                Answer::Deleted(Some(false)) => (Demand::Is(ABSENT), None),
                _ => (Demand::Any, Some(ABSENT)),
            },
        };
        if !refused {
            return Some(Rule { demand: holds, leaves });
        }
        // A refusal says that the condition did not hold, and changes nothing.
        let demand = match holds {
            Demand::Is(state) => Demand::Not(state),
            Demand::Not(state) => Demand::Is(state),
            Demand::Any => unreachable!("validation admits a refusal only for conditional operations"),
        };
        Some(Rule { demand, leaves: None })
    }

    fn state(&self, value: ValueId) -> State {
        self.0.get(&value).copied().unwrap_or(UNNAMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_nobody_names_share_a_state() {
        let operation = |kind, outcome| Operation { client: 0, key: vec![], kind, invoked_ns: 0, outcome };
        let ok = |answer| Outcome::Ok { returned_ns: 1, answer };
        let [a, b, c, d] = [1, 2, 3, 4].map(ValueId);
        let operations = [
            operation(Kind::Put { value: a }, ok(Answer::Applied)),
            operation(Kind::Put { value: b }, Outcome::Unknown),
            operation(Kind::PutIfVersion { read: c, value: d }, ok(Answer::Refused)),
            operation(Kind::Get, ok(Answer::Value(Some(d)))),
            operation(Kind::Get, Outcome::Unknown),
        ];
        let names = Names::of(&operations.iter().collect::<Vec<_>>());
        assert_eq!(names.state(a), names.state(b));
        assert_ne!(names.state(c), names.state(d));
        assert_ne!(names.state(a), ABSENT);
        assert_eq!(names.rule(&operations[0]), names.rule(&operations[1]));
        assert_eq!(names.rule(&operations[4]), None);

        let refused = names.rule(&operations[2]).unwrap();
        assert_eq!(refused.apply(names.state(c)), None);
        assert_eq!(refused.apply(ABSENT), Some(ABSENT));
    }
}
