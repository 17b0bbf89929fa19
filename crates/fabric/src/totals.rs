//! What a thread has posted: the counters that cost tests and reports read.

use crate::{Chain, Verb};
use serde::{Deserialize, Serialize};
use std::cell::Cell;

/// Verbs, chains, doorbells and payload bytes.
///
/// Bytes count payload only, not headers of any wire: a READ brings its length in, a WRITE takes its length out, a CAS
/// takes 16 out and brings 8 in, an FAA takes 8 out and brings 8 in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Times that a provider told its device that there is work.
    pub doorbells: u64,
    /// Chains posted.
    pub chains: u64,
    /// READs.
    pub reads: u64,
    /// WRITEs.
    pub writes: u64,
    /// CASes.
    pub cas: u64,
    /// FAAs.
    pub faa: u64,
    /// Payload bytes to nodes.
    pub bytes_out: u64,
    /// Payload bytes from nodes.
    pub bytes_in: u64,
    /// Links that failed.
    pub links_lost: u64,
}

impl Totals {
    /// Counts the verbs and bytes of `chain`.
    pub fn count(&mut self, chain: &Chain) {
        self.chains += 1;
        for verb in chain.verbs() {
            let len = verb.len() as u64;
            match verb {
                Verb::Read { .. } | Verb::ReadWords { .. } => {
                    self.reads += 1;
                    self.bytes_in += len;
                }
                Verb::Write { .. } | Verb::WriteWord { .. } => {
                    self.writes += 1;
                    self.bytes_out += len;
                }
                Verb::CompareSwap { .. } => {
                    self.cas += 1;
                    self.bytes_out += 16;
                    self.bytes_in += 8;
                }
                Verb::FetchAdd { .. } => {
                    self.faa += 1;
                    self.bytes_out += 8;
                    self.bytes_in += 8;
                }
            }
        }
    }

    /// All verbs.
    pub fn verbs(&self) -> u64 {
        self.reads + self.writes + self.cas + self.faa
    }

    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Totals) -> Totals {
        Totals {
            doorbells: self.doorbells - earlier.doorbells,
            chains: self.chains - earlier.chains,
            reads: self.reads - earlier.reads,
            writes: self.writes - earlier.writes,
            cas: self.cas - earlier.cas,
            faa: self.faa - earlier.faa,
            bytes_out: self.bytes_out - earlier.bytes_out,
            bytes_in: self.bytes_in - earlier.bytes_in,
            links_lost: self.links_lost - earlier.links_lost,
        }
    }

    /// Adds what another thread counted.
    pub fn add(&mut self, other: &Totals) {
        self.doorbells += other.doorbells;
        self.chains += other.chains;
        self.reads += other.reads;
        self.writes += other.writes;
        self.cas += other.cas;
        self.faa += other.faa;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.links_lost += other.links_lost;
    }
}

/// Totals that a provider's links share within their thread.
#[derive(Debug, Default)]
pub struct TotalsCell(Cell<Totals>);

impl TotalsCell {
    /// Changes the totals.
    pub fn update(&self, change: impl FnOnce(&mut Totals)) {
        let mut totals = self.0.get();
        change(&mut totals);
        self.0.set(totals);
    }

    /// The totals now.
    pub fn get(&self) -> Totals {
        self.0.get()
    }
}
