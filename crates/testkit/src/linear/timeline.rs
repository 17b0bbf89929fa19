//! The page that shows where no order could be found.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::search::Stuck;
use crate::history::{Answer, Operation, Outcome, ValueId, key_text};

/// How many of the operations placed last are shown.
const PLACED_SHOWN: usize = 8;
/// How many operations that were not placed are shown.
const UNPLACED_SHOWN: usize = 12;
/// How wide the bars are, in characters.
const BAR_COLUMNS: usize = 48;

/// Explains a key that has no order, in ASCII: the blocked operation, what was placed before it, and the
/// operations that overlap it.
pub(super) fn page(key: &[u8], operations: &[&Operation], stuck: &Stuck) -> String {
    let blocked = operations[stuck.blocked];
    let mut page = String::new();
    let count = operations.len();
    let key = key_text(key);
    line(&mut page, format_args!("key {key}: no order of its {count} operations explains the answers."));
    line(
        &mut page,
        format_args!(
            "The longest order found has {} of them and leaves {}. Next had to be",
            stuck.order.len(),
            state_after(operations, &stuck.order).map_or("nothing".to_owned(), |value| value.to_string()),
        ),
    );
    line(&mut page, format_args!("    client {}: {blocked}", blocked.client));
    line(&mut page, format_args!("and no choice of what comes before it allows that."));
    if let Some(value) = read_by(blocked)
        && !operations.iter().any(|operation| may_write(operation, value))
    {
        line(&mut page, format_args!("No operation that may have taken effect writes {value} to this key."));
    }

    let shown = shown(operations, stuck);
    let scale = Scale::of(shown.iter().map(|&index| operations[index]));
    page.push('\n');
    line(&mut page, format_args!("{:>6} {:>6}  {:<BAR_COLUMNS$}", "place", "client", "time, not to scale"));
    for index in shown {
        let operation = operations[index];
        let place = match stuck.order.iter().position(|&placed| placed == index) {
            Some(place) => (place + 1).to_string(),
            None if index == stuck.blocked => ">>".to_owned(),
            None => "-".to_owned(),
        };
        let bar = scale.bar(operation);
        line(&mut page, format_args!("{place:>6} {:>6}  {bar:<BAR_COLUMNS$}  {operation}", operation.client));
    }
    page.push('\n');
    let (first_ns, last_ns) = scale.range_ns();
    line(
        &mut page,
        format_args!(">> blocked   - not placed   |..? no known end   shown: {first_ns} ns to {last_ns} ns"),
    );
    page
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    let start = page.len();
    page.write_fmt(text).expect("writing to a string cannot fail");
    page.truncate(start + page[start..].trim_end().len());
    page.push('\n');
}

/// The operations worth showing, by their invocation.
fn shown(operations: &[&Operation], stuck: &Stuck) -> Vec<usize> {
    let blocked = operations[stuck.blocked];
    let mut shown: BTreeSet<usize> = stuck.order.iter().rev().take(PLACED_SHOWN).copied().collect();
    shown.insert(stuck.blocked);
    if let Some(value) = read_by(blocked) {
        shown.extend((0..operations.len()).filter(|&index| operations[index].kind.written() == Some(value)));
    }
    let placed: BTreeSet<usize> = stuck.order.iter().copied().collect();
    let latest_ns = blocked.outcome.returned_ns().unwrap_or(u64::MAX);
    let mut unplaced: Vec<usize> = (0..operations.len())
        .filter(|index| !placed.contains(index) && *index != stuck.blocked)
        .filter(|&index| {
            operations[index].outcome != Outcome::Failed && operations[index].invoked_ns <= latest_ns
        })
        .collect();
    unplaced.sort_by_key(|&index| std::cmp::Reverse((operations[index].invoked_ns, index)));
    shown.extend(unplaced.into_iter().take(UNPLACED_SHOWN));
    let mut shown: Vec<usize> = shown.into_iter().collect();
    shown.sort_by_key(|&index| {
        let operation = operations[index];
        (operation.invoked_ns, operation.outcome.returned_ns().unwrap_or(u64::MAX), index)
    });
    shown
}

/// The value after these operations.
fn state_after(operations: &[&Operation], order: &[usize]) -> Option<ValueId> {
    let mut state = None;
    for &index in order {
        let operation = operations[index];
        match operation.outcome.answer() {
            Some(Answer::Refused) => {}
            _ if operation.kind.deletes() => state = None,
            _ => state = operation.kind.written().or(state),
        }
    }
    state
}

fn read_by(operation: &Operation) -> Option<ValueId> {
    match operation.outcome.answer() {
        Some(Answer::Value(value)) => value,
        _ => None,
    }
}

fn may_write(operation: &Operation, value: ValueId) -> bool {
    operation.kind.written() == Some(value)
        && operation.outcome != Outcome::Failed
        && operation.outcome.answer() != Some(Answer::Refused)
}

/// Maps times to columns by their rank, so that a long pause does not squeeze what matters into one column.
struct Scale {
    times_ns: Vec<u64>,
}

impl Scale {
    fn of<'a>(operations: impl Iterator<Item = &'a Operation>) -> Self {
        let mut times = BTreeSet::new();
        for operation in operations {
            times.insert(operation.invoked_ns);
            times.extend(operation.outcome.returned_ns());
        }
        Self { times_ns: times.into_iter().collect() }
    }

    fn range_ns(&self) -> (u64, u64) {
        let first_ns = self.times_ns.first().copied().unwrap_or(0);
        (first_ns, self.times_ns.last().copied().unwrap_or(first_ns))
    }

    fn column(&self, time_ns: u64) -> usize {
        let rank = self.times_ns.partition_point(|&shown_ns| shown_ns < time_ns);
        let last_rank = self.times_ns.len().saturating_sub(1).max(1);
        // A few times are spread four columns apart; many share the width.
        let columns = (last_rank * 4).min(BAR_COLUMNS - 1);
        rank * columns / last_rank
    }

    fn bar(&self, operation: &Operation) -> String {
        let start = self.column(operation.invoked_ns);
        let mut bar = " ".repeat(start);
        bar.push('|');
        match operation.outcome.returned_ns().map(|returned_ns| self.column(returned_ns)) {
            Some(end) if end > start => {
                bar.push_str(&"-".repeat(end - start - 1));
                bar.push('|');
            }
            Some(_) => {}
            None => bar.push_str("..?"),
        }
        bar
    }
}
