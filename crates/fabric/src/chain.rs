//! A chain: verbs that are posted with one doorbell and take effect in order.

use crate::{Slice, Why};
use arrayvec::ArrayVec;
use farrow_layout::RemoteAddr;

/// The most verbs in a chain.
pub const MAX_CHAIN: usize = 8;
/// The most local segments of a READ or WRITE.
pub const MAX_SEGMENTS: usize = 3;

/// Local memory of a READ or WRITE, in order.
pub type Slices = ArrayVec<Slice, MAX_SEGMENTS>;

/// The old values and words that a chain answers, in the order of its verbs.
pub type Answers = ArrayVec<u64, { 2 * MAX_CHAIN }>;

/// One one-sided verb.
#[derive(Clone, Debug)]
pub enum Verb {
    /// READ into local segments, scattered in order. May tear, in any order, at multiples of 8 bytes.
    Read {
        /// First byte.
        at: RemoteAddr,
        /// Where the bytes go.
        into: Slices,
    },
    /// READ of `count` (1 or 2) aligned words, each of them whole; answered, not stored.
    ReadWords {
        /// First byte; a multiple of 8.
        at: RemoteAddr,
        /// How many words.
        count: u8,
    },
    /// WRITE from local segments, gathered in order. May tear.
    Write {
        /// First byte.
        at: RemoteAddr,
        /// Where the bytes come from.
        from: Slices,
    },
    /// WRITE of one aligned word, always inline. Does not tear.
    WriteWord {
        /// A multiple of 8.
        at: RemoteAddr,
        /// What to write.
        word: u64,
    },
    /// CAS; answers the old value, which equals `expected` if and only if it was swapped.
    CompareSwap {
        /// A multiple of 8.
        at: RemoteAddr,
        /// The value to be replaced.
        expected: u64,
        /// The value to put.
        swap: u64,
    },
    /// FAA; answers the old value.
    FetchAdd {
        /// A multiple of 8.
        at: RemoteAddr,
        /// What to add, wrapping.
        add: u64,
    },
}

/// Verbs to post together.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    verbs: ArrayVec<Verb, MAX_CHAIN>,
}

impl Chain {
    /// An empty chain.
    pub fn new() -> Chain {
        Chain::default()
    }

    fn with(mut self, verb: Verb) -> Chain {
        self.verbs.push(verb);
        self
    }

    /// READ `into.len()` bytes at `at`.
    ///
    /// # Panics
    /// All builders panic when the chain is full ([`MAX_CHAIN`]): protocols know their chains.
    pub fn read(self, at: RemoteAddr, into: Slice) -> Chain {
        self.read_scattered(at, Slices::from_iter([into]))
    }

    /// READ into several segments.
    pub fn read_scattered(self, at: RemoteAddr, into: Slices) -> Chain {
        self.with(Verb::Read { at, into })
    }

    /// READ one aligned word, answered.
    pub fn read_word(self, at: RemoteAddr) -> Chain {
        self.with(Verb::ReadWords { at, count: 1 })
    }

    /// READ two adjacent aligned words, both answered. Each is whole; together they may tear.
    pub fn read_word_pair(self, at: RemoteAddr) -> Chain {
        self.with(Verb::ReadWords { at, count: 2 })
    }

    /// WRITE `from` to `at`.
    pub fn write(self, at: RemoteAddr, from: Slice) -> Chain {
        self.write_gathered(at, Slices::from_iter([from]))
    }

    /// WRITE from several segments.
    pub fn write_gathered(self, at: RemoteAddr, from: Slices) -> Chain {
        self.with(Verb::Write { at, from })
    }

    /// WRITE one aligned word.
    pub fn write_word(self, at: RemoteAddr, word: u64) -> Chain {
        self.with(Verb::WriteWord { at, word })
    }

    /// CAS `expected` to `swap`; the old value is answered.
    pub fn compare_swap(self, at: RemoteAddr, expected: u64, swap: u64) -> Chain {
        self.with(Verb::CompareSwap { at, expected, swap })
    }

    /// FAA of `add`; the old value is answered.
    pub fn fetch_add(self, at: RemoteAddr, add: u64) -> Chain {
        self.with(Verb::FetchAdd { at, add })
    }

    /// The verbs in order.
    pub fn verbs(&self) -> &[Verb] {
        &self.verbs
    }

    /// The verbs themselves.
    pub fn into_verbs(self) -> ArrayVec<Verb, MAX_CHAIN> {
        self.verbs
    }

    /// Why no link to a memory of `memory_len` bytes can take this chain; checked by providers before anything is posted.
    pub fn refusal(&self, memory_len: u64) -> Option<Why> {
        if self.verbs.is_empty() {
            return Some(Why::Malformed);
        }
        self.verbs.iter().find_map(|verb| {
            if matches!(verb, Verb::ReadWords { count, .. } if !(1..=2).contains(count)) {
                return Some(Why::Malformed);
            }
            let RemoteAddr(at) = verb.at();
            if at.checked_add(verb.len() as u64).is_none_or(|end| end > memory_len) {
                return Some(Why::OutOfBounds);
            }
            (verb.needs_alignment() && !at.is_multiple_of(8)).then_some(Why::Misaligned)
        })
    }

    /// Whether there is nothing to post.
    pub fn is_empty(&self) -> bool {
        self.verbs.is_empty()
    }
}

impl Verb {
    /// First remote byte.
    pub fn at(&self) -> RemoteAddr {
        match self {
            Verb::Read { at, .. }
            | Verb::ReadWords { at, .. }
            | Verb::Write { at, .. }
            | Verb::WriteWord { at, .. }
            | Verb::CompareSwap { at, .. }
            | Verb::FetchAdd { at, .. } => *at,
        }
    }

    /// Remote bytes that the verb touches.
    pub fn len(&self) -> usize {
        match self {
            Verb::Read { into: s, .. } | Verb::Write { from: s, .. } => s.iter().map(Slice::len).sum(),
            Verb::ReadWords { count, .. } => 8 * *count as usize,
            Verb::WriteWord { .. } | Verb::CompareSwap { .. } | Verb::FetchAdd { .. } => 8,
        }
    }

    /// Whether the verb touches no byte (an empty READ or WRITE).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the address must be a multiple of 8.
    pub fn needs_alignment(&self) -> bool {
        !matches!(self, Verb::Read { .. } | Verb::Write { .. })
    }

    /// Words that the verb adds to [`Answers`].
    pub fn answers(&self) -> usize {
        match self {
            Verb::Read { .. } | Verb::Write { .. } | Verb::WriteWord { .. } => 0,
            Verb::ReadWords { count, .. } => *count as usize,
            Verb::CompareSwap { .. } | Verb::FetchAdd { .. } => 1,
        }
    }
}
