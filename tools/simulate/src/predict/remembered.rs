//! What a client remembers of keys, as after a long run.

use super::cluster::Record;
use farrow_layout::Word;
use farrow_protocol::{Found, Known};
use std::collections::BTreeMap;

/// Where one client saw keys last: the rule of the client library's cache, unbounded as FUSEE's is, and kept for the keys
/// that the run touches. All others are as a long run leaves them.
///
/// Between two uses of a key by one client each other client uses it once, on average, however popular it is. So with
/// `clients` of which each updates with probability `u`, what one remembers is stale with probability
/// `s = (clients - 1) u / ((clients - 1) u + 1)`. A key that is stale too often is not trusted: in the long run the share
/// of its uses that start from what is remembered is such that `STALE_RATIO` of all uses find it stale.
pub struct Remembered {
    lines: BTreeMap<u32, Option<Line>>,
    /// In 1/65536.
    stale_share: u64,
    salt: u64,
}

#[derive(Clone, Copy)]
struct Line {
    word: Word,
    uses: u32,
    stale: u32,
}

/// A tenth, as in FUSEE.
const STALE_RATIO: u32 = 10;
/// Uses before a key's share of stale ones means anything.
const PROBATION: u32 = 8;
/// Uses of a key before the run.
const LONG: u32 = 1000;

impl Remembered {
    /// What client `client` of `clients` remembers, when `update_percent` of their operations are updates.
    pub fn after_a_long_run(client: u32, clients: u32, update_percent: u32) -> Remembered {
        let updates = u64::from(clients - 1) * u64::from(update_percent);
        let stale_share = (updates << 16) / (updates + 100);
        Remembered { lines: BTreeMap::new(), stale_share, salt: u64::from(client) << 32 }
    }

    fn line(&mut self, key: u32, record: &Record) -> &mut Option<Line> {
        let (salt, stale_share) = (self.salt, self.stale_share);
        self.lines.entry(key).or_insert_with(|| {
            let bits = mixed(salt | u64::from(key));
            let is_stale = (bits & 0xffff) < stale_share;
            let word = if is_stale { record.stale } else { record.word };
            // Out of the uses that would be stale, as many are made as may be.
            let trusted_share = (1 << 16) * (1 << 16) / u64::from(STALE_RATIO) / stale_share.max(1);
            let is_trusted = ((bits >> 16) & 0xffff) < trusted_share;
            let (uses, stale) = match (stale_share > (1 << 16) / u64::from(STALE_RATIO), is_trusted) {
                (false, _) => (LONG, ((u64::from(LONG) * stale_share) >> 16) as u32),
                (true, true) => (LONG, LONG / STALE_RATIO),
                (true, false) => (LONG + (bits >> 32) as u32 % 9, LONG / STALE_RATIO + 1),
            };
            Some(Line { word, uses, stale })
        })
    }

    /// What may be taken for granted about a key.
    pub fn find(&mut self, key: u32, record: &Record) -> Known {
        let line = self.line(key, record).as_mut()?;
        line.uses += 1;
        let is_wary = line.uses > PROBATION && line.stale * STALE_RATIO > line.uses;
        (!is_wary).then_some(Found { slot: record.slot, word: line.word })
    }

    /// An operation has seen `word`. `was_stale`: what was remembered proved wrong.
    pub fn remember(&mut self, key: u32, record: &Record, word: Word, was_stale: bool) {
        let line = self.line(key, record).get_or_insert(Line { word, uses: 0, stale: 0 });
        line.word = word;
        line.stale += u32::from(was_stale);
    }

    /// What was remembered is wrong, and nothing better is known.
    pub fn forget(&mut self, key: u32, record: &Record) {
        *self.line(key, record) = None;
    }
}

fn mixed(from: u64) -> u64 {
    let z = from.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::{KeyHash, Pointer, SizeClass, SlotAddr, SlotIndex};

    fn record() -> Record {
        let hash = KeyHash::of(b"k");
        let name = |before: Word| before.naming(hash, SizeClass::for_len(64), Pointer::from_offset(0));
        let stale = name(Word::ZERO);
        let slot = SlotAddr { partition: 0, index: SlotIndex(0) };
        Record { key: [0; 16], hash, home: 0, slot, word: name(stale), stale }
    }

    /// Uses of many keys, each once: how many are trusted, and how many of those stale.
    fn first_uses(clients: u32, update_percent: u32) -> (f64, f64) {
        let record = record();
        let mut remembered = Remembered::after_a_long_run(3, clients, update_percent);
        let known: Vec<_> = (0..20_000).filter_map(|key| remembered.find(key, &record)).collect();
        let stale = known.iter().filter(|k| k.word == record.stale).count();
        (known.len() as f64 / 20_000.0, stale as f64 / 20_000.0)
    }

    #[test]
    fn without_updates_everything_is_fresh() {
        assert_eq!(first_uses(128, 0), (1.0, 0.0));
    }

    #[test]
    fn with_many_updates_a_tenth_of_the_uses_is_stale() {
        for (clients, percent) in [(128, 50), (128, 5), (8, 50)] {
            let (_, stale) = first_uses(clients, percent);
            assert!((stale - 0.1).abs() < 0.01, "{clients} {percent}: {stale}");
        }
    }

    #[test]
    fn with_few_updates_everything_is_trusted() {
        let (trusted, stale) = first_uses(2, 5);
        assert_eq!(trusted, 1.0);
        assert!((stale - 0.05 / 1.05).abs() < 0.01, "{stale}");
    }

    #[test]
    fn what_is_forgotten_is_looked_up_and_what_is_seen_is_remembered() {
        let record = record();
        let mut remembered = Remembered::after_a_long_run(0, 1, 50);
        remembered.forget(7, &record);
        assert_eq!(remembered.find(7, &record), None);
        remembered.remember(7, &record, record.stale, false);
        assert_eq!(remembered.find(7, &record), Some(Found { slot: record.slot, word: record.stale }));
    }
}
