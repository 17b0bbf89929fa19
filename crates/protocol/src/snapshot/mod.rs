//! `snapshot`: FUSEE's SNAPSHOT (FAST'23, section 4): backups first, then rules 1 to 3, then the primary. The baseline of
//! every comparison, and for homes whose replicas cannot be co-located.
//!
//! | the paper's step | here |
//! | --- | --- |
//! | write the object, read the primary slot | [`replace`], phase 1 |
//! | CAS the backups, evaluate the rules | phase 2, [`rules`] |
//! | log commit | phase 3: the replaced word, written into the entry |
//! | CAS the primary | phase 4 |
//! | LOSE: poll the primary | [`replace::await_winner`] |

mod replace;
mod rules;

use crate::colocated::{is_unsettled_insert, settle_insert};
use crate::{Commit, Concluded, Context, Failure, Replace, Replaced};
use farrow_fabric::{Chain, Fabric};
use farrow_layout::{Slot, SlotAddr, Word};

/// FUSEE's protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot;

impl Commit for Snapshot {
    const NAME: &'static str = "snapshot";

    async fn replace<F: Fabric>(
        self,
        cx: &Context<'_, F>,
        change: &Replace<'_>,
    ) -> Result<Replaced, Failure> {
        replace::replace(cx, change).await
    }

    fn needs_settling(self, slot: &Slot) -> bool {
        // The primary changes last, so what it shows is on all replicas. The committed word only serves inserts and the
        // recycling of slots.
        is_unsettled_insert(slot)
    }

    async fn settle<F: Fabric>(
        self,
        cx: &Context<'_, F>,
        slot: SlotAddr,
        seen: Slot,
    ) -> Result<Word, Failure> {
        let word = seen.word();
        if is_unsettled_insert(&seen) {
            if let Some(later) = Box::pin(settle_insert(cx, self, slot, word)).await? {
                return Ok(later);
            }
            self.conclude(cx, slot, word, Concluded::Insert);
        }
        Ok(word)
    }

    fn conclude<F: Fabric>(self, cx: &Context<'_, F>, slot: SlotAddr, word: Word, kind: Concluded) {
        if kind != Concluded::Update {
            let chain = Chain::new().write_word(cx.primary_segment().committed(slot), word.raw());
            cx.meter.post_behind(&cx.home.primary().link, chain);
        }
    }
}
