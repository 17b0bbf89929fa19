//! The cost of one operation: round trips, verbs, bytes.

use crate::{Answers, Chain, Link, Totals, VerbError};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What one operation cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// The longest sequence of chains of which each was posted after the answer of the one before.
    pub round_trips: u32,
    /// CASes that lost to somebody else.
    pub conflicts: u32,
    /// Verbs and bytes that the operation waited for, or may have.
    pub foreground: Totals,
    /// Verbs and bytes posted behind the reply.
    pub background: Totals,
}

/// Counts one operation's chains as it posts them. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Meter(Rc<MeterCells>);

#[derive(Debug, Default)]
struct MeterCells {
    depth: Cell<u32>,
    conflicts: Cell<u32>,
    foreground: Cell<Totals>,
    background: Cell<Totals>,
}

impl Meter {
    /// A meter that stands at zero.
    pub fn new() -> Meter {
        Meter::default()
    }

    /// Posts a chain whose answer the operation waits for.
    ///
    /// The chain's depth is one more than that of the deepest answer seen so far; round trips are the deepest answer.
    pub fn post<L: Link>(&self, link: &L, chain: Chain) -> Posted<L::Completion> {
        let mut totals = self.0.foreground.get();
        totals.count(&chain);
        self.0.foreground.set(totals);
        Posted { completion: link.post(chain), meter: self.clone(), depth: self.0.depth.get() + 1 }
    }

    /// Posts a chain behind the reply: nobody waits for it, its effect comes or does not.
    pub fn post_behind<L: Link>(&self, link: &L, chain: Chain) {
        let mut totals = self.0.background.get();
        totals.count(&chain);
        self.0.background.set(totals);
        drop(link.post(chain));
    }

    /// Counts a CAS that lost to somebody else.
    pub fn note_conflict(&self) {
        self.0.conflicts.set(self.0.conflicts.get() + 1);
    }

    /// What was counted so far.
    pub fn cost(&self) -> Cost {
        Cost {
            round_trips: self.0.depth.get(),
            conflicts: self.0.conflicts.get(),
            foreground: self.0.foreground.get(),
            background: self.0.background.get(),
        }
    }
}

/// A chain on its way, counted when its answer arrives.
#[must_use = "a chain is posted already; await its answer, or post it behind"]
#[derive(Debug)]
pub struct Posted<C> {
    completion: C,
    meter: Meter,
    depth: u32,
}

impl<C: Future<Output = Result<Answers, VerbError>> + Unpin> Future for Posted<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.completion).poll(cx));
        let cells = &self.meter.0;
        cells.depth.set(cells.depth.get().max(self.depth));
        Poll::Ready(answer)
    }
}
