//! What a client has done, by kind of operation.

use crate::cache::CacheStats;
use crate::membership::MembershipStats;
use farrow_fabric::{Cost, Totals};
use farrow_protocol::Events;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpKind {
    /// Reading a value.
    Get,
    /// Asking whether a key is there.
    Exists,
    /// Writing a value, with or without a condition.
    Put,
    /// Removing a key.
    Delete,
}

/// Sums over operations of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpStats {
    /// Operations that ended with an answer.
    pub count: u64,
    /// Operations that ended with an error, by its label.
    pub errors: BTreeMap<String, u64>,
    /// Round trips.
    pub round_trips: u64,
    /// CASes lost to others.
    pub conflicts: u64,
    /// Verbs and bytes that operations waited for.
    pub foreground: Totals,
    /// Verbs and bytes behind replies.
    pub background: Totals,
}

/// Everything that one thread's client counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// By kind of operation.
    pub ops: BTreeMap<OpKind, OpStats>,
    /// The cache.
    pub cache: CacheStats,
    /// Everything posted, operations or not.
    pub fabric: Totals,
    /// Rare paths taken, by label.
    pub events: BTreeMap<String, u64>,
    /// Views and links.
    pub membership: MembershipStats,
}

impl OpStats {
    pub(crate) fn add_cost(&mut self, cost: &Cost) {
        self.round_trips += u64::from(cost.round_trips);
        self.conflicts += u64::from(cost.conflicts);
        self.foreground.add(&cost.foreground);
        self.background.add(&cost.background);
    }
}

impl Stats {
    pub(crate) fn note_events(&mut self, events: &Events) {
        self.events = events.seen().map(|(e, n)| (e.label().to_owned(), n)).collect();
    }

    /// Adds what another thread counted.
    pub fn add(&mut self, other: &Stats) {
        for (kind, theirs) in &other.ops {
            let ours = self.ops.entry(*kind).or_default();
            ours.count += theirs.count;
            ours.round_trips += theirs.round_trips;
            ours.conflicts += theirs.conflicts;
            ours.foreground.add(&theirs.foreground);
            ours.background.add(&theirs.background);
            for (label, n) in &theirs.errors {
                *ours.errors.entry(label.clone()).or_default() += n;
            }
        }
        self.cache.hits += other.cache.hits;
        self.cache.misses += other.cache.misses;
        self.cache.stale += other.cache.stale;
        self.fabric.add(&other.fabric);
        self.membership.add(&other.membership);
        for (label, n) in &other.events {
            *self.events.entry(label.clone()).or_default() += n;
        }
    }
}
