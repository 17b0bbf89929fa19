//! A chain on its way: verbs, what is left of them, and where the answer goes.

use crate::choices::{Choices, Point};
use crate::pinned::{gather, scatter};
use crate::{AccessKind, Grain, Memory};
use farrow_fabric::{Answers, Chain, Nanos, Pinned, Slice, Verb, VerbError};
use farrow_layout::RemoteAddr;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

/// What a completion waits for.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) answer: RefCell<Option<Result<Answers, VerbError>>>,
    pub(crate) waker: RefCell<Option<Waker>>,
}

impl Waiting {
    pub(crate) fn answer(&self, answer: Result<Answers, VerbError>) {
        *self.answer.borrow_mut() = Some(answer);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A chain that was posted.
pub(crate) struct ChainRun {
    /// `None` once the client has been told, or is no more.
    pub(crate) waiting: Option<Rc<Waiting>>,
    pub(crate) has_begun: bool,
    /// The step that brought it where it is: that posted it, or that put its answer on the wire.
    pub(crate) cause: u64,
    pub(crate) answers: Answers,
    /// When its client gets round to posting it.
    pub(crate) departs_at: Nanos,
    /// When it reaches the node; never, as long as it has not departed.
    pub(crate) arrives_at: Nanos,
    /// When the last byte of its answer leaves the node.
    pub(crate) leaves_at: Nanos,
    /// What the NIC has done of its next piece. In virtual time only.
    pub(crate) stage: Stage,
    verbs: VecDeque<VerbRun>,
    /// Local memory of verbs that are done: pinned until the client is told.
    done: Vec<Pinned>,
}

struct VerbRun {
    verb: Verb,
    /// The bytes of a WRITE, as posted; pinned bytes do not change, so this is what any later DMA would fetch.
    data: Vec<u8>,
    pinned: Vec<Pinned>,
    /// Pieces of a transfer that are still to be executed, as ranges of bytes from its first.
    pieces: Option<Vec<(usize, usize)>>,
}

/// How far a piece has come at a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has yet to come in.
    Wire,
    /// Its bytes are in; it waits for the engine.
    Arrived(Piece),
    /// The engine is through with it: it takes effect.
    Served,
}

/// What a piece asks of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) is_atomic: bool,
    /// The first of its verb.
    pub(crate) is_first: bool,
    pub(crate) bytes_in: usize,
}

/// What one piece did.
pub(crate) struct Executed {
    pub(crate) at: RemoteAddr,
    pub(crate) len: usize,
    pub(crate) kind: AccessKind,
    /// What goes back to the client for it.
    pub(crate) bytes_out: usize,
    /// Whether memory may be another than it was; certain only of a verb that is one piece.
    pub(crate) is_change: bool,
}

impl ChainRun {
    pub(crate) fn new(chain: Chain) -> ChainRun {
        let verbs = chain.into_verbs().into_iter().map(|verb| {
            let slices: &[Slice] = match &verb {
                Verb::Read { into: s, .. } | Verb::Write { from: s, .. } => s,
                _ => &[],
            };
            let pinned: Vec<_> = slices.iter().map(|s| s.clone().pin()).collect();
            let data = if matches!(verb, Verb::Write { .. }) { gather(&pinned) } else { Vec::new() };
            VerbRun { verb, data, pinned, pieces: None }
        });
        ChainRun {
            waiting: Some(Rc::default()),
            has_begun: false,
            cause: 0,
            answers: Answers::new(),
            departs_at: Nanos(0),
            arrives_at: Nanos(0),
            leaves_at: Nanos(0),
            stage: Stage::Wire,
            verbs: verbs.collect(),
            done: Vec::new(),
        }
    }

    pub(crate) fn is_executed(&self) -> bool {
        self.verbs.is_empty()
    }

    /// Pieces left, as far as they have been cut.
    pub(crate) fn verbs_left(&self) -> usize {
        self.verbs.len()
    }

    /// Forgets all but the first `count` verbs that are left.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.verbs.truncate(count);
    }

    /// The client is no more, or was told that the link is lost: verbs may execute, its memory is out of reach.
    pub(crate) fn orphan(&mut self) -> Option<Rc<Waiting>> {
        self.done.clear();
        for verb in &mut self.verbs {
            verb.pinned.clear();
        }
        self.waiting.take()
    }

    /// Cuts the next verb into pieces if it is not yet, and chooses the one that comes next.
    pub(crate) fn prepare(&mut self, grain: Grain, choices: &mut dyn Choices) -> Piece {
        let verb = &mut self.verbs[0];
        let is_atomic = matches!(verb.verb, Verb::CompareSwap { .. } | Verb::FetchAdd { .. });
        let is_first = verb.pieces.is_none();
        let pieces = verb.pieces.get_or_insert_with(|| cut(&verb.verb, grain, choices));
        // The piece that comes next lies last.
        if pieces.len() > 1
            && matches!(verb.verb, Verb::Read { .. } | Verb::Write { .. } | Verb::ReadWords { .. })
        {
            let chosen = choices.below(pieces.len() as u64, Point::Piece) as usize;
            let last = pieces.len() - 1;
            pieces.swap(chosen, last);
        }
        let len = pieces.last().map_or(0, |(start, end)| end - start);
        let bytes_in = match verb.verb {
            Verb::Write { .. } | Verb::WriteWord { .. } => len,
            // The operands of an atomic are part of its header.
            _ => 0,
        };
        Piece { is_atomic, is_first, bytes_in }
    }

    /// Where the next verb reaches, all of it: whichever of its pieces comes next.
    pub(crate) fn reach(&self) -> (RemoteAddr, usize) {
        let verb = &self.verbs[0].verb;
        (verb.at(), verb.len())
    }

    /// Executes the piece that was prepared.
    pub(crate) fn execute(&mut self, memory: &mut Memory) -> Executed {
        self.has_begun = true;
        let run = self.verbs.front_mut().expect("a chain with verbs left is executed");
        let pieces = run.pieces.as_mut().expect("prepared");
        let (start, end) = pieces.pop().unwrap_or((0, 0));
        let is_last = pieces.is_empty();
        let at = RemoteAddr(run.verb.at().0 + start as u64);
        let len = end - start;
        let mut is_change =
            len != run.verb.len() && !matches!(run.verb, Verb::Read { .. } | Verb::ReadWords { .. });
        let kind = match &run.verb {
            Verb::Read { .. } => {
                // Without its pinned memory the client is gone.
                if !run.pinned.is_empty() {
                    scatter(&run.pinned, start, memory.bytes(at, len));
                }
                AccessKind::Read { len }
            }
            Verb::ReadWords { count, .. } => {
                // Words may be read in any order; they are answered in theirs.
                if run.data.is_empty() {
                    run.data = vec![0; 8 * usize::from(*count)];
                }
                run.data[start..end].copy_from_slice(memory.bytes(at, len));
                if is_last {
                    let words = run.data.chunks_exact(8);
                    self.answers
                        .extend(words.map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes"))));
                }
                AccessKind::Read { len }
            }
            Verb::Write { .. } => {
                is_change |= memory.set_bytes(at, &run.data[start..end]);
                AccessKind::Write { len }
            }
            Verb::WriteWord { word, .. } => {
                is_change |= memory.set_word(at, *word);
                AccessKind::Write { len: 8 }
            }
            Verb::CompareSwap { expected, swap, .. } => {
                let old = memory.word(at);
                self.answers.push(old);
                if old == *expected {
                    is_change |= memory.set_word(at, *swap);
                    AccessKind::Swapped { old, new: *swap }
                } else {
                    AccessKind::NotSwapped { expected: *expected, old }
                }
            }
            Verb::FetchAdd { add, .. } => {
                let old = memory.word(at);
                self.answers.push(old);
                is_change |= memory.set_word(at, old.wrapping_add(*add));
                AccessKind::Added { old, new: old.wrapping_add(*add) }
            }
        };
        if is_last {
            let run = self.verbs.pop_front().expect("the one just executed");
            self.done.extend(run.pinned);
        }
        let bytes_out = match kind {
            AccessKind::Read { len } => len,
            AccessKind::Write { .. } => 0,
            AccessKind::Swapped { .. } | AccessKind::NotSwapped { .. } | AccessKind::Added { .. } => 8,
        };
        Executed { at, len, kind, bytes_out, is_change }
    }
}

/// The pieces of a verb: ranges that meet at aligned words only.
fn cut(verb: &Verb, grain: Grain, choices: &mut dyn Choices) -> Vec<(usize, usize)> {
    let len = verb.len();
    if matches!(verb, Verb::WriteWord { .. } | Verb::CompareSwap { .. } | Verb::FetchAdd { .. }) {
        return vec![(0, 8)];
    }
    let first = (verb.at().0.next_multiple_of(8) - verb.at().0) as usize;
    let first = if first == 0 { 8 } else { first };
    // Word boundaries strictly within the transfer.
    let inner = if len > first { (len - first).div_ceil(8) } else { 0 };
    let boundary = |index: usize| first + 8 * index;
    let cuts: Vec<usize> = match grain {
        Grain::Whole => Vec::new(),
        Grain::Words => (0..inner).map(boundary).collect(),
        Grain::Pieces => {
            let count = if inner == 0 { 0 } else { choices.below(4, Point::Piece) };
            let draw = |_| boundary(choices.below(inner as u64, Point::Piece) as usize);
            let mut cuts: Vec<_> = (0..count).map(draw).collect();
            cuts.sort_unstable();
            cuts.dedup();
            cuts
        }
    };
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([len]);
    // Executed from the end of the list, unless the choices say otherwise: the first bytes first.
    let mut pieces: Vec<_> = starts.zip(ends).collect();
    pieces.reverse();
    pieces
}
