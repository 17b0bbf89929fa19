//! What membership cost a client.

use serde::{Deserialize, Serialize};
use std::cell::Cell;

/// What a client did to stay in touch with its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipStats {
    /// Views of homes that were put together, the first ones too.
    pub views_made: u64,
    /// Links that were made anew.
    pub links_made: u64,
    /// Attempts to make one that failed.
    pub links_failed: u64,
    /// Times that an operation waited for a later map.
    pub map_waits: u64,
    /// Times that the coordinator was told of a node that cannot be reached.
    pub reports: u64,
    /// Times that the client was taken for lost and went on under another id.
    pub renamed: u64,
    /// Writes to homes with fewer members than the policy wants.
    pub under_replicated_writes: u64,
}

impl MembershipStats {
    /// Adds what another client counted.
    pub fn add(&mut self, other: &MembershipStats) {
        self.views_made += other.views_made;
        self.links_made += other.links_made;
        self.links_failed += other.links_failed;
        self.map_waits += other.map_waits;
        self.reports += other.reports;
        self.renamed += other.renamed;
        self.under_replicated_writes += other.under_replicated_writes;
    }
}

/// Where one thread's client counts.
#[derive(Debug, Default)]
pub(crate) struct Counts(Cell<MembershipStats>);

impl Counts {
    pub(crate) fn note(&self, note: impl FnOnce(&mut MembershipStats)) {
        let mut stats = self.0.get();
        note(&mut stats);
        self.0.set(stats);
    }

    pub(crate) fn get(&self) -> MembershipStats {
        self.0.get()
    }
}
