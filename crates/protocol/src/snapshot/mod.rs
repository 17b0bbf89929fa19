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

use crate::{Commit, Concluded, Context, Failure, Replace, Replaced};
use farrow_fabric::Fabric;
use farrow_layout::{Slot, SlotAddr, Word};

/// FUSEE's protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot;

impl Commit for Snapshot {
    const NAME: &'static str = "snapshot";
    // Backups change first: one that has become the primary may hold what nobody else does, and does not say so.
    const READS_CLOSED: bool = false;

    async fn replace<F: Fabric>(
        self,
        cx: &Context<'_, F>,
        change: &Replace<'_>,
    ) -> Result<Replaced, Failure> {
        replace::replace(cx, change).await
    }

    fn needs_settling(self, _: &Slot) -> bool {
        // The primary changes last, so what it shows is on all replicas.
        false
    }

    async fn settle<F: Fabric>(self, _: &Context<'_, F>, _: SlotAddr, seen: Slot) -> Result<Word, Failure> {
        Ok(seen.word())
    }

    fn conclude<F: Fabric>(self, _: &Context<'_, F>, _: SlotAddr, _: Word, _: Concluded) {}
}
