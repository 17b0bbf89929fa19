//! The records of a demo, all in memory: every value that is read is compared with them.

use crate::exit::{Exit, told};
use crate::human;
use anyhow::{Context, Result};
use farrow_bench::record::{BytesRecord, Records as Lines};
use std::collections::HashMap;
use std::fmt;
use std::io::Cursor;
use std::path::Path;

/// Two hundred Debian packages.
const SAMPLE: &[u8] = include_bytes!("../../../../bench/data/sample.jsonl.gz");

/// Records with distinct keys.
pub struct Records {
    all: Vec<BytesRecord>,
    source: String,
    bad: u64,
    replaced: u64,
}

impl Records {
    /// The records of a file, or the built-in sample. Bad lines are reported and passed over.
    pub fn read(path: Option<&Path>) -> Result<Records> {
        let (mut lines, source) = match path {
            Some(path) => {
                let source = path.display().to_string();
                (Lines::open(path).with_context(|| format!("cannot read {source}"))?, source)
            }
            None => (Lines::from_reader(Cursor::new(SAMPLE))?, "the built-in sample".to_owned()),
        };
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut records = Records { all: Vec::new(), source, bad: 0, replaced: 0 };
        while let Some(line) = lines.next_bytes() {
            match line {
                Ok(record) => match places.get(&record.key) {
                    // As when they are put one after the other: the last one counts.
                    Some(&place) => {
                        records.replaced += 1;
                        records.all[place] = record;
                    }
                    None => {
                        places.insert(record.key.clone(), records.all.len());
                        records.all.push(record);
                    }
                },
                Err(bad) => {
                    records.bad += 1;
                    eprintln!("farrow: {}: {bad} (skipped)", records.source);
                }
            }
        }
        if records.all.is_empty() {
            return Err(told(Exit::BadInput, format!("{} has no record in it", records.source)));
        }
        Ok(records)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them.
    pub fn all(&self) -> &[BytesRecord] {
        &self.all
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        self.all.iter().map(|record| (record.key.len() + record.value.len()) as u64).sum()
    }

    /// Where they come from.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = human::plural(self.len() as u64, "record");
        write!(f, "{}: {count}, {} of keys and values", self.source, human::bytes(self.bytes()))?;
        if self.replaced > 0 {
            write!(f, ", {} replaced by a later line with the same key", human::count(self.replaced))?;
        }
        if self.bad > 0 {
            write!(f, ", {} skipped", human::plural(self.bad, "bad line"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_there() {
        let records = Records::read(None).unwrap();
        assert_eq!((records.len(), records.bad, records.replaced), (200, 0, 0));
    }
}
