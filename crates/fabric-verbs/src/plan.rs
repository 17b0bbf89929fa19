//! From a chain to work requests: a pure translation, made when the chain is posted.
//!
//! # Order
//!
//! A reliable connection starts work requests in the order posted and its responder takes them in that order, but a
//! responder may still be reading for a READ while it carries out what came after it. The InfiniBand specification's table
//! of work request ordering (volume 1, "Ordering and the fence indicator") says what has to be asked for:
//!
//! | first ＼ second | WRITE | READ | atomic |
//! |---|---|---|---|
//! | WRITE  | always | always | always |
//! | READ   | fence  | always | fence  |
//! | atomic | fence  | always | fence  |
//!
//! So within a chain a WRITE or an atomic carries the fence flag if a READ or an atomic stands before it and no fence
//! between them. [WRITE, CAS], [CAS, READ] and [READ, READ], which protocols are made of, carry none. A fence makes the queue
//! pair wait for the answers of all its READs and atomics, those of other chains too: one round trip. What holds between
//! chains is in `reads.rs`.

use farrow_control::message::RdmaChunk;
use farrow_fabric::{Answers, Chain, Pinned, Slices, Verb, Why};

use crate::reads::Reads;
use crate::sys::Sge;
use crate::window::{Piece, Window};

/// What the device takes in one work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Scatter entries.
    pub(crate) entries: usize,
    /// Bytes that travel in the request itself.
    pub(crate) inline: usize,
    /// Bytes of a message.
    pub(crate) message: u64,
    /// Requests of one chain.
    pub(crate) requests: usize,
}

/// The work requests of one chain. Kept and used again, so that posting allocates nothing in the long run.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) requests: Vec<Request>,
    pub(crate) entries: Vec<Sge>,
    /// What `entries` point into; the device may touch it until the chain is retired.
    pins: Vec<Pinned>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) address: u64,
    pub(crate) key: u32,
    pub(crate) fence: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From or to `count` of the plan's entries, beginning with `first`.
    Read {
        first: usize,
        count: usize,
        len: u64,
    },
    Write {
        first: usize,
        count: usize,
        inline: bool,
        len: u64,
    },
    /// The words arrive in the request's place of the answer ring.
    ReadWords {
        count: u8,
    },
    /// The word is put into the request's place of the answer ring, and sent from there.
    WriteWord {
        word: u64,
    },
    CompareSwap {
        expected: u64,
        swap: u64,
    },
    FetchAdd {
        add: u64,
    },
}

impl Kind {
    fn is_fetch(self) -> bool {
        !matches!(self, Kind::Write { .. } | Kind::WriteWord { .. })
    }

    fn is_read(self) -> bool {
        matches!(self, Kind::Read { .. } | Kind::ReadWords { .. })
    }

    /// Words answered.
    pub(crate) fn answers(self) -> usize {
        match self {
            Kind::Read { .. } | Kind::Write { .. } | Kind::WriteWord { .. } => 0,
            Kind::ReadWords { count } => count as usize,
            Kind::CompareSwap { .. } | Kind::FetchAdd { .. } => 1,
        }
    }

    /// Remote bytes that it touches.
    fn len(self) -> u64 {
        match self {
            Kind::Read { len, .. } | Kind::Write { len, .. } => len,
            Kind::ReadWords { count } => 8 * u64::from(count),
            Kind::WriteWord { .. } | Kind::CompareSwap { .. } | Kind::FetchAdd { .. } => 8,
        }
    }

    /// Whether it changes remote memory in one packet of `mtu` bytes or not at all.
    pub(crate) fn is_all_or_nothing(self, mtu: u64) -> bool {
        !matches!(self, Kind::Write { len, .. } if len > mtu)
    }
}

impl Plan {
    /// Translates `chain`, and pins its buffers until [`Plan::clear`].
    ///
    /// # Errors
    /// The chain cannot be posted on this link; the plan is empty then.
    pub(crate) fn fill(&mut self, chain: Chain, window: &Window, limits: &Limits) -> Result<(), Why> {
        self.clear();
        let outcome = self.fill_verbs(chain, window, limits);
        if outcome.is_err() {
            self.clear();
        }
        outcome
    }

    fn fill_verbs(&mut self, chain: Chain, window: &Window, limits: &Limits) -> Result<(), Why> {
        if let Some(why) = chain.refusal(window.len()) {
            return Err(why);
        }
        let mut order = Order { fetch_before: false, read_before: false };
        for verb in chain.into_verbs() {
            let at = verb.at().0;
            match verb {
                Verb::Read { into, .. } => self.transfer(at, into, true, window, limits, &mut order)?,
                Verb::Write { from, .. } => self.transfer(at, from, false, window, limits, &mut order)?,
                Verb::ReadWords { count, .. } => {
                    for piece in window.pieces(at, 8 * u64::from(count)) {
                        // Chunks are aligned to words, so a pair is cut between its words if at all.
                        self.push(Kind::ReadWords { count: (piece.len / 8) as u8 }, piece, &mut order);
                    }
                }
                Verb::WriteWord { word, .. } => self.word(at, Kind::WriteWord { word }, window, &mut order),
                Verb::CompareSwap { expected, swap, .. } => {
                    self.word(at, Kind::CompareSwap { expected, swap }, window, &mut order);
                }
                Verb::FetchAdd { add, .. } => self.word(at, Kind::FetchAdd { add }, window, &mut order),
            }
        }
        if self.requests.len() > limits.requests { Err(Why::Malformed) } else { Ok(()) }
    }

    /// Fences what must not overtake the READs of earlier chains. `first` is the number of the first work request.
    pub(crate) fn order_behind(&mut self, first: u32, reads: &mut Reads) {
        for (index, request) in (0..).zip(&mut self.requests) {
            let len = request.kind.len();
            if request.kind.is_read() {
                reads.posted(first.wrapping_add(index), request.address, len);
                continue;
            }
            request.fence |= reads.must_be_fenced(request.address, len);
            if request.fence {
                reads.fenced();
            }
        }
    }

    /// Lets go of the buffers.
    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.entries.clear();
        self.pins.clear();
    }

    /// The chain's answers, of which `word` gets those at (request, which of its two words).
    pub(crate) fn answers(&self, mut word: impl FnMut(usize, usize) -> u64) -> Answers {
        let mut answers = Answers::new();
        for (index, request) in self.requests.iter().enumerate() {
            answers.extend((0..request.kind.answers()).map(|which| word(index, which)));
        }
        answers
    }

    fn word(&mut self, at: u64, kind: Kind, window: &Window, order: &mut Order) {
        let piece = window.pieces(at, 8).next().expect("an aligned word lies within one chunk");
        self.push(kind, piece, order);
    }

    fn push(&mut self, kind: Kind, piece: Piece, order: &mut Order) {
        let fence = order.needs_fence(kind);
        self.requests.push(Request { kind, address: piece.address, key: piece.key, fence });
    }

    /// A READ or WRITE, cut where chunks end and where the device's limits are.
    fn transfer(
        &mut self,
        at: u64,
        slices: Slices,
        is_read: bool,
        window: &Window,
        limits: &Limits,
        order: &mut Order,
    ) -> Result<(), Why> {
        let first_pin = self.pins.len();
        self.pins.extend(slices.into_iter().filter(|slice| !slice.is_empty()).map(|slice| slice.pin()));
        let len: usize = self.pins[first_pin..].iter().map(Pinned::len).sum();
        let mut pin = first_pin;
        let mut within = 0;
        for mut piece in window.pieces(at, len as u64) {
            while piece.len > 0 {
                let first = self.entries.len();
                let mut taken = 0;
                while taken < piece.len.min(limits.message) && self.entries.len() - first < limits.entries {
                    let pinned = &self.pins[pin];
                    let rest = (pinned.len() - within) as u64;
                    let length = rest.min(piece.len - taken).min(limits.message - taken);
                    self.entries.push(Sge {
                        addr: pinned.address().wrapping_add(within).expose_provenance() as u64,
                        length: u32::try_from(length).expect("a message is shorter than 4 GiB"),
                        lkey: pinned.local_key(),
                    });
                    taken += length;
                    within += length as usize;
                    if length == rest {
                        (pin, within) = (pin + 1, 0);
                    }
                }
                let count = self.entries.len() - first;
                // Inline data is copied when posting, which is too early if a READ of this chain is to bring it.
                let inline = !order.read_before && taken <= limits.inline as u64;
                let needs_key = is_read || !inline;
                if needs_key && self.entries[first..].iter().any(|entry| entry.lkey == 0) {
                    // Not of this fabric's buffers: the device would break the link over it.
                    return Err(Why::Malformed);
                }
                let kind = match is_read {
                    true => Kind::Read { first, count, len: taken },
                    false => Kind::Write { first, count, inline, len: taken },
                };
                self.push(kind, Piece { len: taken, ..piece }, order);
                piece = Piece { address: piece.address + taken, len: piece.len - taken, ..piece };
            }
        }
        Ok(())
    }
}

/// What stands before the next request.
struct Order {
    /// A READ or atomic, with no fence since.
    fetch_before: bool,
    /// A READ of this chain.
    read_before: bool,
}

impl Order {
    fn needs_fence(&mut self, kind: Kind) -> bool {
        let fence = self.fetch_before && !kind.is_read();
        self.fetch_before = (self.fetch_before && !fence) || kind.is_fetch();
        self.read_before |= matches!(kind, Kind::Read { .. });
        fence
    }
}

/// The chunks of a memory that begins at `address`, each of at most `chunk_len` bytes, without keys yet.
pub(crate) fn chunks(address: u64, len: u64, chunk_len: u64) -> impl Iterator<Item = RdmaChunk> {
    (0..len.div_ceil(chunk_len)).map(move |index| {
        let offset = index * chunk_len;
        RdmaChunk { offset, len: chunk_len.min(len - offset), address: address + offset, key: 0 }
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
