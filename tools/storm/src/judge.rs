//! The judgement over records.

use anyhow::{Context, Result, bail};
use farrow_testkit::history::{History, read_lines};
use farrow_testkit::linear;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// What was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Keys.
    pub keys: usize,
    /// Operations.
    pub operations: usize,
    /// Operations whose outcome nobody knows.
    pub unknown: usize,
}

/// Merges the records of all clients and checks that they are linearizable, key by key.
///
/// # Errors
/// A violation, printed as a time line; a record that cannot be read; a search that gave up (never a silent pass).
pub fn judge(records: &[PathBuf]) -> Result<Verdict> {
    let mut all = History::default();
    for path in records {
        let file = File::open(path).with_context(|| format!("cannot open the record {}", path.display()))?;
        let part = read_lines(BufReader::new(file)).with_context(|| format!("record {}", path.display()))?;
        all.merge(part);
    }
    match linear::check(&all) {
        Ok(report) => {
            Ok(Verdict { keys: report.keys, operations: report.operations, unknown: report.unknown })
        }
        Err(linear::Failure::Violation(violation)) => bail!("not linearizable:\n{}", violation.page),
        Err(other) => bail!("{other}"),
    }
}
