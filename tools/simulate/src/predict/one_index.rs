//! FUSEE as most of its evaluation ran it: values on several nodes, their index on one.

use farrow_fabric::{Chain, Fabric, join_all};
use farrow_layout::{SegmentPlan, Slot, SlotAddr, Word};
use farrow_protocol::{Commit, Concluded, Context, Failure, Place, Replace, Replaced};

/// SNAPSHOT with one replica of the index: without backups of a slot there is no round to win and nothing to log, so a
/// write is the entry on every member, then one CAS at the primary. A lost primary loses the index: it is here for the
/// comparison with published figures, and no part of the product.
#[derive(Clone, Copy, Debug)]
pub struct OneIndex;

impl Commit for OneIndex {
    const NAME: &'static str = "snapshot, one index";
    const READS_CLOSED: bool = false;

    async fn replace<F: Fabric>(
        self,
        cx: &Context<'_, F>,
        change: &Replace<'_>,
    ) -> Result<Replaced, Failure> {
        let primary = cx.home.primary();
        let at = primary.segment.slot(change.slot);
        let write = |segment: &SegmentPlan| match change.place {
            Place::Entry(staged) => staged.write(Chain::new(), segment),
            Place::Relink(_) | Place::Nothing => Chain::new(),
        };
        let first = cx.meter.post(&primary.link, write(&primary.segment).read_word(at));
        let backups = cx.home.backups().iter().filter(|_| matches!(change.place, Place::Entry(_)));
        let backups = backups.map(|member| cx.meter.post(&member.link, write(&member.segment)));
        let mut seen = Word::ZERO;
        for (i, answer) in join_all(std::iter::once(first).chain(backups)).await.into_iter().enumerate() {
            let answers = answer.map_err(Failure::harmless)?;
            if i == 0 {
                seen = Word::from_raw(answers[0]);
            }
        }
        if seen != change.expected {
            return Ok(Replaced::Lost { now: seen });
        }
        let chain = Chain::new().compare_swap(at, change.expected.raw(), change.to.raw());
        let old = cx.meter.post(&primary.link, chain).await.map_err(Failure::maybe)?[0];
        let old = Word::from_raw(old);
        Ok(if old == change.expected { Replaced::Won } else { Replaced::Lost { now: old } })
    }

    fn needs_settling(self, _: &Slot) -> bool {
        false
    }

    async fn settle<F: Fabric>(self, _: &Context<'_, F>, _: SlotAddr, seen: Slot) -> Result<Word, Failure> {
        Ok(seen.word())
    }

    fn conclude<F: Fabric>(self, _: &Context<'_, F>, _: SlotAddr, _: Word, _: Concluded) {}
}
