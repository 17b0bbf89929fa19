//! Several runs in one table.

use super::Outcome;
use std::fmt;

/// Several runs, as one table.
#[derive(Debug)]
pub struct Summary<'a>(pub &'a [Outcome]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = self.0.first().map_or(0.0, |outcome| outcome.matrix.bound_ms);
        writeln!(
            f,
            "\n| nodes | mix | fault | count | longest without a read, ms | without a write, ms | within {bound:.0} ms |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        let (mut count, mut within) = (0, 0);
        for outcome in self.0 {
            for row in &outcome.matrix.rows {
                let fault = format!("{}{}", row.fault, if row.is_mixed { " with others" } else { "" });
                writeln!(
                    f,
                    "| {} | {} | {fault} | {} | {:.0} | {:.0} | {} |",
                    outcome.nodes, outcome.mix, row.count, row.read_gap_ms, row.write_gap_ms, row.within
                )?;
                (count, within) = (count + row.count, within + row.within);
            }
        }
        let sum = |of: fn(&Outcome) -> usize| self.0.iter().map(of).sum::<usize>();
        let failed: u64 = self.0.iter().flat_map(|outcome| outcome.errors.values()).sum();
        writeln!(f, "| all | | | {count} | | | {within} |")?;
        write!(
            f,
            "\nlinearizable: {} operations, {} with unknown outcome, {failed} failed without effect; {} certain writes, none lost",
            sum(|o| o.operations),
            sum(|o| o.unknown),
            sum(|o| o.certain_writes)
        )
    }
}
