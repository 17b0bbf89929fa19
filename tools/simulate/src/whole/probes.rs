//! What a run came to on rare paths: a path that no seed of a sweep takes fails it.

use farrow_client::{Error, Stats};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Counts by label. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Probes(Rc<RefCell<BTreeMap<String, u64>>>);

/// Labels of [`Error`]s that a run can come to. `closed` is the answer of a handle that threads share; `rejected` is an
/// answer here.
pub(super) const ERRORS: [&str; 10] = [
    "bad_key",
    "too_large",
    "rejected",
    "unknown",
    "unavailable",
    "timed_out",
    "corrupt",
    "full",
    "buffer_too_small",
    "out_of_buffers",
];

impl Probes {
    fn add(&self, label: &str, times: u64) {
        *self.0.borrow_mut().entry(label.to_owned()).or_default() += times;
    }

    pub(super) fn note_error(&self, error: &Error) {
        self.add(error.label(), 1);
    }

    pub(super) fn note_refused(&self) {
        self.add("rejected", 1);
    }

    /// The events of a client that has ended by itself.
    pub(super) fn note_stats(&self, stats: &Stats) {
        for (label, times) in &stats.events {
            self.add(label, *times);
        }
    }

    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.borrow().clone()
    }
}
