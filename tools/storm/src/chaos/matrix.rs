//! What each kind of fault cost the clients.

use farrow_chaos::{Fault, Strike, longest_gap};
use farrow_testkit::history::{History, Kind, Outcome};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One kind of fault, alone or together with others.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// The kind.
    pub fault: String,
    /// Whether other faults happened before its consequences were mended.
    pub is_mixed: bool,
    /// How often.
    pub count: usize,
    /// Longest time after a fault, until all was mended, in which no client completed a read, in milliseconds.
    pub read_gap_ms: f64,
    /// The same of writes.
    pub write_gap_ms: f64,
    /// How many faults had both gaps within a lease and 50 ms.
    pub within: usize,
    /// Longest time until all was mended, in milliseconds.
    pub mended_ms: f64,
}

/// What each kind of fault cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Matrix {
    /// Each kind.
    pub rows: Vec<Row>,
    /// Longest time of the whole run without a completed read, in milliseconds.
    pub read_gap_ms: f64,
    /// The same of writes.
    pub write_gap_ms: f64,
    /// A lease and 50 ms, in milliseconds.
    pub bound_ms: f64,
}

fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}

impl Matrix {
    /// From what the clients recorded and what befell them between two times.
    pub fn of(history: &History, strikes: &[Strike], lease: Duration, from_ns: u64, to_ns: u64) -> Matrix {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for operation in history.operations() {
            if let Outcome::Ok { returned_ns, .. } = operation.outcome {
                match operation.kind {
                    Kind::Get | Kind::Exists => reads.push(returned_ns),
                    _ => writes.push(returned_ns),
                }
            }
        }
        reads.sort_unstable();
        writes.sort_unstable();
        let bound = lease + Duration::from_millis(50);
        let mut rows: BTreeMap<(bool, Fault), Row> = BTreeMap::new();
        for strike in strikes {
            let row = rows.entry((strike.is_mixed, strike.fault)).or_default();
            (row.fault, row.is_mixed) = (strike.fault.name().to_owned(), strike.is_mixed);
            let until = strike.whole_ns.unwrap_or(to_ns);
            let read = millis(longest_gap(&reads, strike.at_ns, until));
            let write = millis(longest_gap(&writes, strike.at_ns, until));
            row.count += 1;
            row.read_gap_ms = row.read_gap_ms.max(read);
            row.write_gap_ms = row.write_gap_ms.max(write);
            row.mended_ms = row.mended_ms.max(millis(until - strike.at_ns));
            row.within += usize::from(read.max(write) <= millis(bound.as_nanos() as u64));
        }
        Matrix {
            rows: rows.into_values().collect(),
            read_gap_ms: millis(longest_gap(&reads, from_ns, to_ns)),
            write_gap_ms: millis(longest_gap(&writes, from_ns, to_ns)),
            bound_ms: millis(bound.as_nanos() as u64),
        }
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<30} {:>5}  {:>12}  {:>12}  {:>11}  within {:.0} ms",
            "fault", "count", "no read, ms", "no write, ms", "mended, ms", self.bound_ms
        )?;
        for row in &self.rows {
            let name = format!("{}{}", row.fault, if row.is_mixed { " with others" } else { "" });
            writeln!(
                f,
                "{name:<30} {:>5}  {:>12.1}  {:>12.1}  {:>11.0}  {} of {}",
                row.count, row.read_gap_ms, row.write_gap_ms, row.mended_ms, row.within, row.count
            )?;
        }
        let name = "the whole run";
        writeln!(f, "{name:<30} {:>5}  {:>12.1}  {:>12.1}", "", self.read_gap_ms, self.write_gap_ms)
    }
}
