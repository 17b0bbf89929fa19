//! `colocated`: index replica and value copy on the same node, one round trip, the primary decides (DESIGN section 5).
//!
//! | box of `docs/protocols/colocated.md` | here |
//! | --- | --- |
//! | PUT steps 1 to 3 | [`replace`] |
//! | repair of a backup | [`repair`] |
//! | help | [`settle`] |
//! | decisions | [`rules`] |

mod repair;
mod replace;
mod rules;
mod settle;

use crate::{Commit, Concluded, Context, Failure, Replace, Replaced};
use farrow_fabric::{Chain, Fabric};
use farrow_layout::{Slot, SlotAddr, Word};

/// The one-round-trip protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Colocated;

impl Commit for Colocated {
    const NAME: &'static str = "colocated";
    const READS_CLOSED: bool = true;

    async fn replace<F: Fabric>(
        self,
        cx: &Context<'_, F>,
        change: &Replace<'_>,
    ) -> Result<Replaced, Failure> {
        replace::replace(cx, change).await
    }

    fn needs_settling(self, slot: &Slot) -> bool {
        slot.is_pending() && !slot.word().is_tentative()
    }

    async fn settle<F: Fabric>(
        self,
        cx: &Context<'_, F>,
        slot: SlotAddr,
        seen: Slot,
    ) -> Result<Word, Failure> {
        settle::settle(cx, slot, seen).await
    }

    fn conclude<F: Fabric>(self, cx: &Context<'_, F>, slot: SlotAddr, word: Word, _: Concluded) {
        // A plain WRITE: late or lost it makes the slot look pending, which costs somebody a round trip.
        let chain = Chain::new().write_word(cx.primary_segment().committed(slot), word.raw());
        cx.meter.post_behind(&cx.home.primary().link, chain);
    }
}
