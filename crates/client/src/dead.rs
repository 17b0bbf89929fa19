//! Bytes of entries that no slot names any more, counted where they lie: what cleaning goes by.
//!
//! Whoever takes an entry out of its slot counts it: one CAS at the primary wins each word, so an entry is counted once.
//! Counts are gathered here and reach the primary's extent table by FAA behind everything else, one for many entries. They
//! are a hint: a client that is killed takes what it has gathered with it, and nothing is ever decided on them alone.

use farrow_fabric::{Chain, Link, MAX_CHAIN, Meter, Posted};
use farrow_layout::{BlockAddr, Plan, Word};
use farrow_protocol::Home;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// An extent's count is told once it stands for so many entries,
const ENTRIES: u32 = 64;
/// or for this part of the extent, so that long entries are not held back until nothing else is in it.
const PART: u64 = 4;

/// What one client has taken out of the extents of one home and not told yet.
#[derive(Debug, Default)]
pub(crate) struct DeadBytes(RefCell<BTreeMap<u64, Gathered>>);

#[derive(Clone, Copy, Debug, Default)]
struct Gathered {
    entries: u32,
    bytes: u64,
}

impl DeadBytes {
    /// A slot named this entry by `word`, and this client has replaced the word. How long the entry is, its size class says:
    /// at most 64 bytes or one sixteenth too much.
    pub(crate) fn note_word<L: Link>(&self, plan: &Plan, home: Option<&Home<L>>, word: Word) {
        let Some(class) = word.class() else { return };
        let at = word.pointer();
        // A word that does not name anything in the block area would be another's defect: nothing to count.
        if let Some(len) = plan.entry_read_len(at, class) {
            self.note(plan, home, BlockAddr(at.offset()), len as u64);
        }
    }

    /// `len` bytes from `at` on are named by no slot, and never will be. Without an open view of the `home` it is kept, to be
    /// told later.
    pub(crate) fn note<L: Link>(&self, plan: &Plan, home: Option<&Home<L>>, at: BlockAddr, len: u64) {
        let extent_len = plan.geometry().extent_len;
        for (extent, bytes) in shares(plan, at, len) {
            let mut all = self.0.borrow_mut();
            let gathered = all.entry(extent).or_default();
            gathered.entries += 1;
            gathered.bytes += bytes;
            if (gathered.entries >= ENTRIES || gathered.bytes * PART >= extent_len)
                && let Some(home) = home
            {
                let bytes = gathered.bytes;
                all.remove(&extent);
                let at = home.primary().segment.extent_dead_bytes(extent);
                Meter::new().post_behind(&home.primary().link, Chain::new().fetch_add(at, bytes));
            }
        }
    }

    /// Posts all that has been gathered; the answers say when the node knows.
    pub(crate) fn tell<L: Link>(&self, home: &Home<L>) -> Vec<Posted<L::Completion>> {
        let all: Vec<_> = self.0.take().into_iter().collect();
        let meter = Meter::new();
        let chains = all.chunks(MAX_CHAIN).map(|some| {
            let add = |chain: Chain, (extent, gathered): &(u64, Gathered)| {
                chain.fetch_add(home.primary().segment.extent_dead_bytes(*extent), gathered.bytes)
            };
            meter.post(&home.primary().link, some.iter().fold(Chain::new(), add))
        });
        chains.collect()
    }
}

/// The extents that `len` bytes from `at` on lie in, and how many in each: an entry may be longer than an extent.
fn shares(plan: &Plan, at: BlockAddr, len: u64) -> impl Iterator<Item = (u64, u64)> {
    let (plan, end) = (*plan, at.0 + len);
    let extents = plan.extent_of(at)..=plan.extent_of(BlockAddr(end.max(at.0 + 1) - 1));
    extents.map(move |extent| {
        let start = plan.extent_start(extent).0;
        (extent, end.min(start + plan.geometry().extent_len) - at.0.max(start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::Geometry;

    #[test]
    fn a_long_entry_is_shared_out_to_the_extents_that_it_lies_in() {
        let plan = Plan::new(Geometry::for_tests()).unwrap();
        let extent = plan.geometry().extent_len;
        let all = |at, len| shares(&plan, BlockAddr(at), len).collect::<Vec<_>>();
        assert_eq!(all(64, 128), [(0, 128)]);
        assert_eq!(all(extent - 64, 128), [(0, 64), (1, 64)]);
        assert_eq!(all(extent, 2 * extent + 64), [(1, extent), (2, extent), (3, 64)]);
        assert_eq!(all(0, extent), [(0, extent)]);
    }
}
