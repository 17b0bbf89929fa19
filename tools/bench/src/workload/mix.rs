//! Which operations a load consists of, and the endless sequence of them for one thread.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use rand::rngs::SmallRng;
use thiserror::Error;

use super::key_choice::{KeyChooser, KeyDistribution, YCSB_THETA};
use super::value_size::ValueSizes;
use super::{Purpose, stream};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// Read the value of a key.
    Get,
    /// Write a key that is there: YCSB's update. As an upsert it also brings back a key that a delete removed.
    Put,
    /// Write a key that never was.
    Insert,
    /// Remove a key.
    Delete,
    /// Get a key, then put it.
    ReadModifyWrite,
}

impl OpKind {
    /// All kinds.
    pub const ALL: [OpKind; 5] =
        [OpKind::Get, OpKind::Put, OpKind::Insert, OpKind::Delete, OpKind::ReadModifyWrite];

    /// The name in a ratio.
    pub fn name(self) -> &'static str {
        match self {
            OpKind::Get => "get",
            OpKind::Put => "put",
            OpKind::Insert => "insert",
            OpKind::Delete => "delete",
            OpKind::ReadModifyWrite => "rmw",
        }
    }

    /// Whether the operation writes a value.
    pub fn writes(self) -> bool {
        matches!(self, OpKind::Put | OpKind::Insert | OpKind::ReadModifyWrite)
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One operation of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What to do.
    pub kind: OpKind,
    /// The key, as a number.
    pub key_index: u64,
    /// How long the value to write is; 0 if none is written.
    pub value_len: u32,
}

/// The ratio of operations, and how their keys are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    weights: [u32; OpKind::ALL.len()],
    /// How keys are chosen.
    pub keys: KeyDistribution,
}

/// Why a text is no mix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadMix {
    /// Workload E.
    #[error("ycsb-e is not supported: it scans ranges of keys, and a hashed index has no order of keys")]
    Scan,
    /// Neither a workload nor a ratio.
    #[error(
        "`{0}` is no workload; say ycsb-a, -b, -c, -d or -f, or a ratio such as get=90,put=5,insert=3,delete=2"
    )]
    Unknown(String),
    /// A ratio names an operation that does not exist.
    #[error("`{0}` is no operation of a ratio; there are get, put, insert, delete and rmw")]
    UnknownKind(String),
    /// A ratio names an operation twice.
    #[error("the ratio names {0} more than once")]
    Twice(OpKind),
    /// A weight is no number.
    #[error("`{weight}` is no weight for {kind}; give a whole number up to {MAX_WEIGHT}")]
    BadWeight {
        /// Of which operation.
        kind: OpKind,
        /// What was given.
        weight: String,
    },
    /// All weights are zero.
    #[error("the ratio has no operation with a weight above 0")]
    Empty,
}

/// The largest weight: enough for any ratio, and sums stay far from overflow.
const MAX_WEIGHT: u32 = 1_000_000;

/// YCSB's core workloads: letter, weights in the order of [`OpKind::ALL`], whether reads prefer new keys.
const YCSB: [(char, [u32; OpKind::ALL.len()], bool); 5] = [
    ('a', [50, 50, 0, 0, 0], false),
    ('b', [95, 5, 0, 0, 0], false),
    ('c', [100, 0, 0, 0, 0], false),
    ('d', [95, 0, 5, 0, 0], true),
    ('f', [50, 0, 0, 0, 50], false),
];

impl Mix {
    /// One of YCSB's core workloads, by its letter.
    ///
    /// # Errors
    /// For workload E, and for letters that are none.
    pub fn ycsb(letter: char) -> Result<Self, BadMix> {
        let letter = letter.to_ascii_lowercase();
        if letter == 'e' {
            return Err(BadMix::Scan);
        }
        let (_, weights, latest) = YCSB
            .into_iter()
            .find(|(name, ..)| *name == letter)
            .ok_or_else(|| BadMix::Unknown(letter.to_string()))?;
        let theta = YCSB_THETA;
        let keys =
            if latest { KeyDistribution::Latest { theta } } else { KeyDistribution::Zipfian { theta } };
        Ok(Self { weights, keys })
    }

    /// The share of a kind of operation, from 0 to 1.
    pub fn share(&self, kind: OpKind) -> f64 {
        f64::from(self.weight(kind)) / f64::from(self.total())
    }

    fn weight(&self, kind: OpKind) -> u32 {
        self.weights[kind as usize]
    }

    fn total(&self) -> u32 {
        self.weights.iter().sum()
    }

    fn ratio(text: &str) -> Result<Self, BadMix> {
        let mut weights = [None; OpKind::ALL.len()];
        for part in text.split(',') {
            let Some((name, weight)) = part.split_once('=') else {
                return Err(BadMix::Unknown(text.to_owned()));
            };
            let name = name.trim();
            let kind = OpKind::ALL
                .into_iter()
                .find(|kind| kind.name() == name)
                .ok_or_else(|| BadMix::UnknownKind(name.to_owned()))?;
            let parsed = weight.trim().parse().ok().filter(|&number: &u32| number <= MAX_WEIGHT);
            let number =
                parsed.ok_or_else(|| BadMix::BadWeight { kind, weight: weight.trim().to_owned() })?;
            if weights[kind as usize].replace(number).is_some() {
                return Err(BadMix::Twice(kind));
            }
        }
        let weights = weights.map(|weight| weight.unwrap_or(0));
        if weights.iter().all(|&weight| weight == 0) {
            return Err(BadMix::Empty);
        }
        Ok(Self { weights, keys: KeyDistribution::Zipfian { theta: YCSB_THETA } })
    }
}

impl FromStr for Mix {
    type Err = BadMix;

    /// Reads `ycsb-a` or `a`, or a ratio such as `get=90,put=5,insert=3,delete=2` of any whole numbers. A ratio has
    /// YCSB's zipfian keys.
    fn from_str(text: &str) -> Result<Self, BadMix> {
        if text.contains('=') {
            return Self::ratio(text);
        }
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("ycsb-").unwrap_or(&lower);
        let mut letters = name.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Self::ycsb(letter).map_err(|error| match error {
                BadMix::Unknown(_) => BadMix::Unknown(text.to_owned()),
                other => other,
            }),
            _ => Err(BadMix::Unknown(text.to_owned())),
        }
    }
}

/// What one thread of a load needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The operations and how their keys are chosen.
    pub mix: Mix,
    /// How long values are.
    pub sizes: ValueSizes,
    /// Keys `0..loaded_keys` are there before the load begins.
    pub loaded_keys: u64,
    /// How many inserts one thread will make, about: see [`KeyChooser::new`].
    pub expected_inserts: u64,
    /// The seed of the whole load.
    pub seed: u64,
    /// How many threads the load has.
    pub thread_count: u32,
}

/// The operations of one thread: endless, and the same for the same plan and thread.
///
/// Threads insert different keys: the n-th insert of a thread is key `loaded_keys + n * thread_count + thread`. A
/// thread chooses among the loaded keys and those it inserted itself, for it cannot know how far others are. It
/// takes its own inserts as done when the next operation begins; a pipelined load may therefore see a key missing
/// that is still on its way, and one that deletes sees misses of what it deleted.
#[derive(Clone, Debug)]
pub struct Operations {
    mix: Mix,
    total_weight: u32,
    sizes: ValueSizes,
    loaded_keys: u64,
    thread: u64,
    thread_count: u64,
    inserted: u64,
    keys: KeyChooser,
    kind_rng: SmallRng,
    size_rng: SmallRng,
}

impl Operations {
    /// The operations of `thread`, counted from 0.
    ///
    /// # Panics
    /// If there is no such thread, or no key is loaded: with nothing to read only inserts would make sense.
    pub fn new(plan: &Plan, thread: u32) -> Self {
        assert!(thread < plan.thread_count, "thread {thread} of {}", plan.thread_count);
        assert!(plan.loaded_keys > 0, "load some keys before running a mix");
        let expected_keys = plan.loaded_keys.saturating_add(plan.expected_inserts);
        Self {
            total_weight: plan.mix.total(),
            sizes: plan.sizes.clone(),
            loaded_keys: plan.loaded_keys,
            thread: u64::from(thread),
            thread_count: u64::from(plan.thread_count),
            inserted: 0,
            keys: KeyChooser::new(plan.mix.keys, expected_keys, plan.seed, thread),
            kind_rng: stream(plan.seed, thread, Purpose::Operation),
            size_rng: stream(plan.seed, thread, Purpose::ValueSize),
            mix: plan.mix.clone(),
        }
    }

    /// The key that is `position`-th in this thread's view: the loaded ones, then its own.
    fn key_index(&self, position: u64) -> u64 {
        match position.checked_sub(self.loaded_keys) {
            None => position,
            Some(own) => self.loaded_keys + own * self.thread_count + self.thread,
        }
    }

    fn next_kind(&mut self) -> OpKind {
        let mut point = self.kind_rng.random_range(0..self.total_weight);
        for kind in OpKind::ALL {
            match point.checked_sub(self.mix.weight(kind)) {
                None => return kind,
                Some(rest) => point = rest,
            }
        }
        unreachable!("the point is below the sum of all weights")
    }
}

impl Iterator for Operations {
    type Item = Op;

    /// Never `None`.
    fn next(&mut self) -> Option<Op> {
        let kind = self.next_kind();
        let key_count = self.loaded_keys + self.inserted;
        let position = if kind == OpKind::Insert {
            self.inserted += 1;
            key_count
        } else {
            self.keys.choose(key_count)
        };
        let value_len = if kind.writes() { self.sizes.choose(&mut self.size_rng) } else { 0 };
        Some(Op { kind, key_index: self.key_index(position), value_len })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::chi_square;
    use super::*;

    fn plan(mix: &str) -> Plan {
        Plan {
            mix: mix.parse().unwrap(),
            sizes: ValueSizes::zipfian_small(),
            loaded_keys: 1_000,
            expected_inserts: 1_000,
            seed: 42,
            thread_count: 4,
        }
    }

    #[test]
    fn ycsb_workloads_are_what_ycsb_says() {
        let shares = |text: &str| {
            let mix: Mix = text.parse().unwrap();
            OpKind::ALL.map(|kind| (mix.share(kind) * 100.0).round() as u32)
        };
        assert_eq!(shares("ycsb-a"), [50, 50, 0, 0, 0]);
        assert_eq!(shares("B"), [95, 5, 0, 0, 0]);
        assert_eq!(shares("YCSB-C"), [100, 0, 0, 0, 0]);
        assert_eq!(shares("d"), [95, 0, 5, 0, 0]);
        assert_eq!(shares("ycsb-f"), [50, 0, 0, 0, 50]);
        let theta = YCSB_THETA;
        assert_eq!("d".parse::<Mix>().unwrap().keys, KeyDistribution::Latest { theta });
        assert_eq!("a".parse::<Mix>().unwrap().keys, KeyDistribution::Zipfian { theta });
    }

    #[test]
    fn workload_e_says_why_it_is_not_there() {
        let refused = "ycsb-e".parse::<Mix>().unwrap_err();
        assert_eq!(refused, BadMix::Scan);
        assert!(refused.to_string().contains("not supported"));
    }

    #[test]
    fn ratios_are_read_and_bad_ones_are_explained() {
        let mix: Mix = "get=90, put=5,insert=3,delete=2".parse().unwrap();
        assert_eq!(mix.weights, [90, 5, 3, 2, 0]);
        assert_eq!("rmw=1".parse::<Mix>().unwrap().share(OpKind::ReadModifyWrite), 1.0);
        for (text, expected) in [
            ("ycsb-g", BadMix::Unknown("ycsb-g".into())),
            ("", BadMix::Unknown(String::new())),
            ("ab", BadMix::Unknown("ab".into())),
            ("get=1,put", BadMix::Unknown("get=1,put".into())),
            ("scan=1", BadMix::UnknownKind("scan".into())),
            ("get=1,get=2", BadMix::Twice(OpKind::Get)),
            ("get=x", BadMix::BadWeight { kind: OpKind::Get, weight: "x".into() }),
            ("put=-1", BadMix::BadWeight { kind: OpKind::Put, weight: "-1".into() }),
            ("put=4000000000", BadMix::BadWeight { kind: OpKind::Put, weight: "4000000000".into() }),
            ("get=0", BadMix::Empty),
        ] {
            assert_eq!(text.parse::<Mix>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn operations_come_in_their_ratio_and_only_writes_have_a_value() {
        let plan = plan("get=60,put=20,insert=5,delete=10,rmw=5");
        let mut observed = [0; 5];
        for op in Operations::new(&plan, 1).take(50_000) {
            observed[op.kind as usize] += 1;
            assert_eq!(op.value_len > 0, op.kind.writes());
            assert!(op.value_len <= plan.sizes.largest());
        }
        let expected = OpKind::ALL.map(|kind| plan.mix.share(kind) * 50_000.0);
        let (statistic, bound) = chi_square(&observed, &expected);
        assert!(statistic < bound, "{observed:?}");
    }

    #[test]
    fn inserts_extend_the_key_space_without_meeting_those_of_other_threads() {
        let plan = plan("d");
        let mut all_inserted = BTreeSet::new();
        for thread in 0..4 {
            let mut own: Vec<u64> = Vec::new();
            let mut read_back = 0;
            for op in Operations::new(&plan, thread).take(20_000) {
                match op.kind {
                    OpKind::Insert => {
                        assert!(op.key_index >= 1_000);
                        assert!(all_inserted.insert(op.key_index), "{} inserted twice", op.key_index);
                        own.push(op.key_index);
                    }
                    _ => {
                        let loaded = op.key_index < 1_000;
                        assert!(loaded || own.contains(&op.key_index), "{} is nobody's", op.key_index);
                        read_back += u32::from(!loaded);
                    }
                }
            }
            assert!(own.len() > 800 && own.is_sorted());
            assert!(read_back > 5_000, "latest reads new keys, not {read_back} of 19000");
        }
    }

    #[test]
    fn the_same_seed_and_thread_give_the_same_operations() {
        let take = |plan: &Plan, thread| Operations::new(plan, thread).take(500).collect::<Vec<_>>();
        let plan = plan("get=1,insert=1,rmw=1");
        assert_eq!(take(&plan, 2), take(&plan, 2));
        assert_ne!(take(&plan, 2), take(&plan, 3));
        let other = Plan { seed: 43, ..plan.clone() };
        assert_ne!(take(&plan, 2), take(&other, 2));
    }
}
