//! Whether a history is linearizable, key by key.
//!
//! Keys are independent, so a history is linearizable exactly if each key's part is (Herlihy and Wing). For one key
//! the checker searches for an order of the operations that respects real time and explains every answer: the
//! search of Wing and Gong with Lowe's memory of what was visited.
//!
//! - Intervals are closed: an operation that returns at the instant another begins is concurrent with it.
//! - An operation with an unknown outcome has no end, and may also never take effect.
//! - Every key begins without a value. Record the load phase of a test, or every first read is a violation.
//!
//! # Cost
//! Near linear in the operations for histories that are linearizable. Exponential in the operations that overlap,
//! and in the unknown ones whose effects differ, in the worst case; [`Limits`] bounds memory and time, and reaching
//! the bound is [`Failure::GaveUp`], never a pass. Tests stay far from it with at most eight unknown operations a
//! key; then they should move to fresh keys.

mod rule;
mod search;
#[cfg(test)]
mod tests;
mod timeline;

use thiserror::Error;

use crate::history::{History, Malformed, Operation, Outcome, key_text};
use search::{Finding, search};

/// How much the checker may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many configurations (a set of ordered operations and the state they leave) may be visited for one key.
    /// Each is remembered in 16 bytes; with the slack of the table, count 40.
    pub configurations_per_key: usize,
}

impl Default for Limits {
    /// Two million configurations a key: at most some 80 MB, and some seconds.
    fn default() -> Self {
        Self { configurations_per_key: 2_000_000 }
    }
}

/// What was checked, when all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Distinct keys.
    pub keys: usize,
    /// Operations on them, whatever their outcome.
    pub operations: usize,
    /// Those among them with an unknown outcome. A test in which most are unknown shows little.
    pub unknown: usize,
    /// Configurations visited, over all keys: what the search has cost.
    pub configurations: usize,
}

/// Why a history was not accepted.
#[derive(Debug, Error)]
pub enum Failure {
    /// The recording cannot be judged.
    #[error("the history is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// Some key is not linearizable. This is the one with the fewest operations.
    #[error("{0}")]
    Violation(Box<Violation>),
    /// No violation was found, but for some key the search was cut short.
    #[error(
        "gave up on key {} after {configurations} configurations ({operations} operations, {unknown} of them \
         unknown): use more keys, fewer operations with unknown outcome, or larger limits",
        key_text(key)
    )]
    GaveUp {
        /// The first key that was given up.
        key: Vec<u8>,
        /// Its operations.
        operations: usize,
        /// Those with an unknown outcome.
        unknown: usize,
        /// What was spent.
        configurations: usize,
    },
}

/// A key whose operations have no order that explains them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{page}")]
pub struct Violation {
    /// The key.
    pub key: Vec<u8>,
    /// How many operations it has.
    pub operations: usize,
    /// How many operations the longest order found has.
    pub placed: usize,
    /// The operation that had to be next after these, and cannot.
    pub blocked: Operation,
    /// What happened around it, as an ASCII page.
    pub page: String,
}

/// Checks a history with the default [`Limits`].
///
/// # Errors
/// As [`check_within`].
pub fn check(history: &History) -> Result<Report, Failure> {
    check_within(history, Limits::default())
}

/// Checks a history.
///
/// # Errors
/// [`Failure::Malformed`] before anything is searched; [`Failure::Violation`] if any key is not linearizable, even
/// if the search gave up on others; else [`Failure::GaveUp`] if it gave up on any.
pub fn check_within(history: &History, limits: Limits) -> Result<Report, Failure> {
    history.validate()?;
    let mut report = Report::default();
    let mut violation: Option<Violation> = None;
    let mut gave_up: Option<Failure> = None;
    for (key, operations) in history.by_key() {
        let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
        report.keys += 1;
        report.operations += operations.len();
        report.unknown += unknown;
        match search(&operations, limits) {
            Finding::Linearizable { configurations } => report.configurations += configurations,
            Finding::Stuck(stuck) => {
                if violation.as_ref().is_none_or(|smallest| operations.len() < smallest.operations) {
                    violation = Some(Violation {
                        key: key.to_vec(),
                        operations: operations.len(),
                        placed: stuck.order.len(),
                        blocked: operations[stuck.blocked].clone(),
                        page: timeline::page(key, &operations, &stuck),
                    });
                }
            }
            Finding::GaveUp { configurations } => {
                let (key, operations) = (key.to_vec(), operations.len());
                gave_up.get_or_insert(Failure::GaveUp { key, operations, unknown, configurations });
            }
        }
    }
    match (violation, gave_up) {
        (Some(violation), _) => Err(Failure::Violation(Box::new(violation))),
        (None, Some(gave_up)) => Err(gave_up),
        (None, None) => Ok(report),
    }
}
