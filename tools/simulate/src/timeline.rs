//! A run as a page: who did what, and what it did to which node, one line after the other.

use crate::case::Case;
use crate::home::{heard, open_entry, plan, wrong_in};
use farrow_fabric_sim::{Access, AccessKind, TraceLine, World};
use farrow_layout::{BlockAddr, NodeId, Plan, RemoteAddr, SegmentPlan, SlotAddr, SlotIndex, Word};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Narrower columns are hard to read, and wider ones leave no room for others.
const NARROWEST: usize = 8;
const WIDEST: usize = 34;

/// Rows of a page; of a longer run, or one that goes round in circles, the middle is left out.
const MOST_ROWS: usize = 240;

/// Runs `case` and prints it. The clients that the run is about have a column each, and so has every node; what was put
/// there before, and what was looked at afterwards, is told in a line each.
///
/// Words of slots read `#5 v201`: version 5 of the slot, which names the value `v201`; `!` marks words that nobody may
/// claim to have been just before, `?` tentative ones.
pub fn timeline(case: &Case) -> String {
    let (world, outcome) = case.run(true);
    let page = Page::of(case, &world);
    let mut text = format!("{} over {} replicas", case.protocol.name(), case.scenario.copies);
    text.push_str("\n\n");
    text.push_str(&page.to_text());
    text.push('\n');
    match outcome {
        Ok(_) => text.push_str("No oracle objects.\n"),
        Err(said) => {
            let _ = writeln!(text, "THE ORACLE SAYS:\n{}", said.trim_end());
        }
    }
    text
}

enum Row {
    /// What happened in columns: the column's index and its text.
    Cells(Vec<(usize, String)>),
    /// A line of its own.
    Line(String),
}

struct Page {
    heads: Vec<String>,
    rows: Vec<Row>,
}

struct Names<'a> {
    world: &'a World,
    plan: Plan,
    segment: SegmentPlan,
    /// Slots by the addresses of their words.
    slots: BTreeMap<u64, u64>,
    copies: usize,
}

impl Page {
    fn of(case: &Case, world: &World) -> Page {
        let plan = plan(case.scenario.copies);
        let segment = plan.segment(0);
        let index = |i| SlotAddr { partition: 0, index: SlotIndex(i) };
        let slots = (0..plan.slots_per_partition()).map(|i| (segment.slot(index(i)).0, i)).collect();
        let names = Names { world, plan, segment, slots, copies: case.scenario.copies };
        let count = case.scenario.clients.len();
        // The first client put what is there at first.
        let column = |client: u32| (client as usize).checked_sub(2).filter(|column| *column < count);
        let mut heads: Vec<String> = (0..count).map(|i| format!("client {}", i + 2)).collect();
        heads.extend(
            (0..case.scenario.copies)
                .map(|i| if i == 0 { "primary n0".into() } else { format!("backup n{i}") }),
        );
        let mut rows = Vec::new();
        let mut aside: BTreeMap<u32, String> = BTreeMap::new();
        for line in world.trace().lines() {
            match line {
                TraceLine::Note { text, .. } => match heard(text) {
                    Some((client, what)) => match column(client) {
                        Some(column) => {
                            let mark = if what.starts_with("->") { "" } else { "* " };
                            rows.push(Row::Cells(vec![(column, format!("{mark}{what}"))]));
                        }
                        None if what.starts_with("->") => {
                            let asked = aside.remove(&client).unwrap_or_default();
                            rows.push(Row::Line(format!("client {client}: {asked} {what}")));
                        }
                        None => drop(aside.insert(client, what.to_owned())),
                    },
                    None => {
                        if let Some(fault) = fault(text) {
                            rows.push(Row::Line(fault));
                        }
                    }
                },
                TraceLine::Access { access, words } => {
                    if let Some(client) = column(access.client as u32 + 1) {
                        let (verb, effect) = names.describe(access, *words);
                        rows.push(Row::Cells(vec![
                            (client, verb),
                            (count + usize::from(access.node.0), effect),
                        ]));
                    }
                }
                TraceLine::Answered { .. } | TraceLine::Polled { .. } | TraceLine::Fired { .. } => {}
            }
        }
        for (client, asked) in aside {
            rows.push(Row::Line(format!("client {client}: {asked} ..")));
        }
        Page { heads, rows }
    }

    fn to_text(&self) -> String {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.len().max(NARROWEST)).collect();
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (column, text) in cells {
                    widths[*column] = widths[*column].max(text.chars().count().min(WIDEST));
                }
            }
        }
        let mut text = String::new();
        let mut print = |number: &str, cells: &dyn Fn(usize) -> String| {
            let mut line = format!("{number:>4}");
            for (column, width) in widths.iter().enumerate() {
                let _ = write!(line, "  {:<width$}", cells(column));
            }
            let _ = writeln!(text, "{}", line.trim_end());
        };
        print("", &|column| self.heads[column].clone());
        print("", &|column| "-".repeat(widths[column]));
        let mut number = 0;
        let left_out = self.rows.len().saturating_sub(MOST_ROWS);
        for (index, row) in self.rows.iter().enumerate() {
            if (MOST_ROWS / 2..MOST_ROWS / 2 + left_out).contains(&index) {
                number += usize::from(matches!(row, Row::Cells(_)));
                if index == MOST_ROWS / 2 {
                    print("", &|column| {
                        if column == 0 { format!(".. {left_out} more lines") } else { String::new() }
                    });
                }
                continue;
            }
            match row {
                Row::Line(line) => {
                    print("", &|column| if column == 0 { line.clone() } else { String::new() })
                }
                Row::Cells(cells) => {
                    number += 1;
                    let cell = |column| {
                        let own = cells.iter().find(|(other, _)| *other == column);
                        own.map_or(String::new(), |(_, text)| text.clone())
                    };
                    print(&number.to_string(), &cell);
                }
            }
        }
        text
    }
}

/// A fault in capitals; other notes of the world are of no interest here.
fn fault(note: &str) -> Option<String> {
    if let Some(what) = wrong_in(note) {
        return Some(what.to_uppercase());
    }
    let task: u32 = note.strip_prefix("task ")?.strip_suffix(" stops")?.parse().ok()?;
    // The first task put what is there at first, and clients are counted from one.
    Some(format!("CLIENT {} STOPS FOR GOOD", task + 1))
}

impl Names<'_> {
    /// A verb, and what it met or left.
    fn describe(&self, access: &Access, words: [Option<u64>; 2]) -> (String, String) {
        let place = self.place(access);
        let word = |raw: u64| self.word(access.node, Word::from_raw(raw));
        let is_index = !place.starts_with("entry");
        let held = |words: [Option<u64>; 2]| {
            let words: Vec<String> = words.into_iter().flatten().map(word).collect();
            words.join(", committed ")
        };
        match access.kind {
            AccessKind::Read { len } if is_index && len <= 16 => (format!("READ {place}"), held(words)),
            AccessKind::Read { .. } => (format!("READ {place}"), "read".to_owned()),
            AccessKind::Write { len } if is_index && len == 8 => {
                (format!("WRITE {place}"), format!(":= {}", held([words[0], None])))
            }
            AccessKind::Write { len } => (format!("WRITE {place}"), format!("{len} bytes")),
            AccessKind::Swapped { old, new } => {
                (format!("CAS {place}"), format!("{} => {}", word(old), word(new)))
            }
            AccessKind::NotSwapped { expected, old } => {
                (format!("CAS {place}"), format!("LOST to {}, not {}", word(old), word(expected)))
            }
            AccessKind::Added { old, new } => (format!("FAA {place}"), format!("{old} => {new}")),
        }
    }

    fn place(&self, access: &Access) -> String {
        let len = match access.kind {
            AccessKind::Read { len } | AccessKind::Write { len } => len as u64,
            _ => 8,
        };
        if let Some(slot) = self.slots.get(&access.at.0)
            && len <= 16
        {
            return format!("slot {slot}");
        }
        if len == 8
            && let Some(slot) = access.at.0.checked_sub(8).and_then(|at| self.slots.get(&at))
        {
            return format!("committed {slot}");
        }
        let blocks = self.segment.block_bytes(BlockAddr(0));
        if access.at.0 >= blocks.0 {
            return format!("entry {}", self.entry(access.node, access.at));
        }
        let mut within = self.slots.range(access.at.0..access.at.0 + len).map(|(_, slot)| *slot);
        match (within.next(), within.next_back()) {
            (Some(first), Some(last)) => format!("slots {first} to {last}"),
            (Some(first), None) => format!("slot {first} and around"),
            _ => format!("{len} bytes at {}", access.at),
        }
    }

    /// The entry at an address, by what lies there in the end: entries are written once.
    fn entry(&self, node: NodeId, at: RemoteAddr) -> String {
        let blocks = self.segment.block_bytes(BlockAddr(0)).0;
        let memory = self.world.memory(node);
        let unit = (at.0 - blocks) / 64 * 64;
        let len = (memory.len() - blocks - unit).min(1024) as usize;
        let bytes = memory.bytes(RemoteAddr(blocks + unit), len);
        match farrow_layout::EntryHeader::open(bytes) {
            Ok((_, key, value)) => named(key, value),
            Err(_) => format!("at {}", at.0 - blocks),
        }
    }

    fn word(&self, node: NodeId, word: Word) -> String {
        if word == Word::ZERO {
            return "never used".to_owned();
        }
        let version = word.version().0;
        if word.is_empty() {
            return format!("#{version} empty");
        }
        let marks = [("?", word.is_tentative()), ("!", word.is_guarded())];
        let marks: String = marks.into_iter().filter(|(_, is)| *is).map(|(mark, _)| mark).collect();
        // Bytes that never reached this node may have reached another.
        let nodes = std::iter::once(node).chain((0..self.copies).map(|i| NodeId(i as u16)));
        let open = |node| open_entry(&self.plan, &self.world.memory(node), word).ok();
        match { nodes }.find_map(open) {
            Some((_, value)) => format!("#{version}{marks} {}", value_name(&value)),
            None => format!("#{version}{marks} at {}", word.pointer().offset()),
        }
    }
}

fn named(key: &[u8], value: &[u8]) -> String {
    format!("{} {}", String::from_utf8_lossy(key), value_name(value))
}

/// The simulator's values are their own names.
fn value_name(value: &[u8]) -> String {
    match value.first_chunk() {
        Some(first) => format!("v{}", u64::from_le_bytes(*first)),
        None => "nothing".to_owned(),
    }
}
