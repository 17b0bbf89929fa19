//! Where keys were last seen: bounded, and wary of keys that keep moving.

use farrow_layout::KeyHash;
use farrow_protocol::Found;
use serde::{Deserialize, Serialize};

/// Remembers slots and words by key hash. Four ways a set; the least used of a set makes room.
///
/// As in FUSEE a key whose word keeps proving stale is not trusted: looking it up costs less than being wrong. Unlike
/// there an own write refreshes instead of counting against the key.
#[derive(Debug)]
pub struct Cache {
    sets: Vec<[Option<Line>; WAYS]>,
    stale_ratio: f64,
    stats: CacheStats,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    hash: KeyHash,
    found: Found,
    uses: u16,
    stale: u16,
}

/// How the cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Operations that started with a remembered slot.
    pub hits: u64,
    /// Operations that had none, or one that was not trusted.
    pub misses: u64,
    /// Hits that proved stale.
    pub stale: u64,
}

const WAYS: usize = 4;
/// Uses before a key's share of stale ones means anything.
const PROBATION: u16 = 8;

impl Cache {
    /// Room for about `entries` keys; 0 remembers nothing.
    pub fn new(entries: usize, stale_ratio: f64) -> Cache {
        Cache { sets: vec![[None; WAYS]; entries.div_ceil(WAYS)], stale_ratio, stats: CacheStats::default() }
    }

    fn set(&mut self, hash: KeyHash) -> Option<&mut [Option<Line>; WAYS]> {
        let count = self.sets.len();
        if count == 0 {
            return None;
        }
        // Bits that neither the partition nor the buckets are drawn from.
        let bits = (hash.raw() >> 64) as u32;
        Some(&mut self.sets[((u64::from(bits) * count as u64) >> 32) as usize])
    }

    /// Where `hash` was last seen, if that can be trusted.
    pub fn find(&mut self, hash: KeyHash) -> Option<Found> {
        let ratio = self.stale_ratio;
        let line = self.set(hash).and_then(|set| set.iter_mut().flatten().find(|l| l.hash == hash));
        let trusted = line.and_then(|line| {
            if line.uses == u16::MAX {
                line.uses /= 2;
                line.stale /= 2;
            }
            line.uses += 1;
            let wary = line.uses > PROBATION && f64::from(line.stale) > ratio * f64::from(line.uses);
            (!wary).then_some(line.found)
        });
        match trusted {
            Some(_) => self.stats.hits += 1,
            None => self.stats.misses += 1,
        }
        trusted
    }

    /// Remembers where `hash` is now. `was_stale`: what was remembered proved wrong.
    pub fn remember(&mut self, hash: KeyHash, found: Found, was_stale: bool) {
        self.stats.stale += u64::from(was_stale);
        let Some(set) = self.set(hash) else { return };
        if let Some(line) = set.iter_mut().flatten().find(|l| l.hash == hash) {
            line.found = found;
            line.stale = line.stale.saturating_add(u16::from(was_stale));
            return;
        }
        let fresh = Line { hash, found, uses: 0, stale: 0 };
        if let Some(empty) = set.iter_mut().find(|l| l.is_none()) {
            *empty = Some(fresh);
            return;
        }
        // Everybody in the set ages, so that yesterday's favourites can be evicted.
        let mut least = 0;
        for i in 0..WAYS {
            if let Some(line) = &mut set[i] {
                line.uses -= line.uses / 8;
            }
            let uses = |l: &Option<Line>| l.map_or(0, |l| l.uses);
            if uses(&set[i]) < uses(&set[least]) {
                least = i;
            }
        }
        set[least] = Some(fresh);
    }

    /// Forgets `hash`: it is not there any more, or what was remembered proved wrong.
    pub fn forget(&mut self, hash: KeyHash, was_stale: bool) {
        self.stats.stale += u64::from(was_stale);
        if let Some(set) = self.set(hash) {
            for line in set {
                if line.is_some_and(|l| l.hash == hash) {
                    *line = None;
                }
            }
        }
    }

    /// How it did so far.
    pub fn stats(&self) -> CacheStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::{SlotAddr, SlotIndex, Word};

    fn key(i: u64) -> KeyHash {
        KeyHash::of(&i.to_le_bytes())
    }

    fn found(i: u64) -> Found {
        Found { slot: SlotAddr { partition: 0, index: SlotIndex(i) }, word: Word::from_raw(i) }
    }

    #[test]
    fn it_finds_what_it_remembers_and_forgets_what_it_must() {
        let mut c = Cache::new(1000, 0.1);
        c.remember(key(1), found(1), false);
        assert_eq!(c.find(key(1)), Some(found(1)));
        assert_eq!(c.find(key(2)), None);
        c.forget(key(1), false);
        assert_eq!(c.find(key(1)), None);
        assert_eq!(c.stats(), CacheStats { hits: 1, misses: 2, stale: 0 });
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut c = Cache::new(64, 0.1);
        c.remember(key(0), found(0), false);
        for i in 1..10_000 {
            c.remember(key(i), found(i), false);
            for _ in 0..3 {
                assert_eq!(c.find(key(0)), Some(found(0)), "after {i}");
            }
        }
        assert_eq!(c.sets.len() * WAYS, 64);
    }

    #[test]
    fn a_key_that_keeps_moving_is_not_trusted() {
        let mut c = Cache::new(64, 0.1);
        for i in 0..100 {
            c.find(key(0));
            c.remember(key(0), found(i), true);
        }
        assert_eq!(c.find(key(0)), None);
        // Own writes refresh; in time it is trusted again.
        let mut trusted = false;
        for i in 0..10_000 {
            trusted |= c.find(key(0)).is_some();
            c.remember(key(0), found(i), false);
        }
        assert!(trusted);
    }

    #[test]
    fn without_room_it_remembers_nothing() {
        let mut c = Cache::new(0, 0.1);
        c.remember(key(1), found(1), false);
        assert_eq!(c.find(key(1)), None);
    }
}
