//! What one thread has measured.

use crate::store::Failed;
use crate::workload::mix::OpKind;
use farrow_fabric::{Cost, Totals};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Latencies are kept to three digits, up to here; longer ones count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// What one thread has measured.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    kinds: [KindTally; OpKind::ALL.len()],
    /// Operations without an answer, by the error's name, and the first words of each.
    pub(crate) errors: BTreeMap<&'static str, (u64, String)>,
}

/// Operations of one kind that had an answer.
#[derive(Clone, Debug)]
pub(crate) struct KindTally {
    pub(crate) latency_ns: Histogram<u64>,
    pub(crate) round_trips: u64,
    pub(crate) conflicts: u64,
    pub(crate) foreground: Totals,
    pub(crate) background: Totals,
    /// Operations whose key was not there.
    pub(crate) absent: u64,
}

impl Default for KindTally {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are good");
        KindTally {
            latency_ns: histogram,
            round_trips: 0,
            conflicts: 0,
            foreground: Totals::default(),
            background: Totals::default(),
            absent: 0,
        }
    }
}

impl KindTally {
    pub(crate) fn count(&self) -> u64 {
        self.latency_ns.len()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Tally { kinds: std::array::from_fn(|_| KindTally::default()), errors: BTreeMap::new() }
    }
}

impl Tally {
    pub(crate) fn kind(&self, kind: OpKind) -> &KindTally {
        &self.kinds[kind as usize]
    }

    /// Counts an operation that had an answer.
    pub(crate) fn answered(&mut self, kind: OpKind, latency_ns: u64, cost: &Cost, was_there: bool) {
        let tally = &mut self.kinds[kind as usize];
        tally.latency_ns.saturating_record(latency_ns.max(1));
        tally.round_trips += u64::from(cost.round_trips);
        tally.conflicts += u64::from(cost.conflicts);
        tally.foreground.add(&cost.foreground);
        tally.background.add(&cost.background);
        tally.absent += u64::from(!was_there);
    }

    /// Counts an operation that had none; how many there are of its label now.
    pub(crate) fn failed(&mut self, failed: Failed) -> u64 {
        let (count, _) = self.errors.entry(failed.label).or_insert((0, failed.why));
        *count += 1;
        *count
    }

    /// Operations that had an answer.
    pub(crate) fn count(&self) -> u64 {
        self.kinds.iter().map(KindTally::count).sum()
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().map(|(count, _)| count).sum()
    }

    /// Adds what another thread has measured.
    pub(crate) fn add(&mut self, other: &Tally) {
        for (ours, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            ours.latency_ns.add(&theirs.latency_ns).expect("all histograms have one range");
            ours.round_trips += theirs.round_trips;
            ours.conflicts += theirs.conflicts;
            ours.foreground.add(&theirs.foreground);
            ours.background.add(&theirs.background);
            ours.absent += theirs.absent;
        }
        for (label, (count, why)) in &other.errors {
            self.errors.entry(label).or_insert((0, why.clone())).0 += count;
        }
    }
}

/// Adds what the second half of an operation cost.
pub(crate) fn add_cost(cost: &mut Cost, more: &Cost) {
    cost.round_trips += more.round_trips;
    cost.conflicts += more.conflicts;
    cost.foreground.add(&more.foreground);
    cost.background.add(&more.background);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up() {
        let cost = Cost { round_trips: 2, conflicts: 1, ..Cost::default() };
        let mut one = Tally::default();
        one.answered(OpKind::Get, 1_000, &cost, true);
        one.answered(OpKind::Get, u64::MAX, &cost, false);
        assert_eq!(one.failed(Failed { label: "full", why: "first".into() }), 1);
        assert_eq!(one.failed(Failed { label: "full", why: "second".into() }), 2);
        let mut all = Tally::default();
        all.add(&one);
        all.add(&one);
        let get = all.kind(OpKind::Get);
        assert_eq!((get.count(), get.round_trips, get.conflicts, get.absent), (4, 8, 4, 2));
        assert_eq!(get.latency_ns.value_at_quantile(0.5) / 10, 100);
        assert!(get.latency_ns.max() >= LONGEST_NS);
        assert_eq!(all.errors["full"], (4, "first".to_owned()));
        assert_eq!((all.count(), all.error_count()), (4, 4));
    }
}
