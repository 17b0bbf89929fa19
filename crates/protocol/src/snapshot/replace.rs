//! One SNAPSHOT write.

use super::rules::{Verdict, evaluate};
use crate::mutant::{self, Mutant};
use crate::{Context, Event, Failure, Place, Replace, Replaced};
use farrow_fabric::{Chain, Fabric, join_all};
use farrow_layout::{SlotAddr, Word};
use std::time::Duration;

/// A loser looks at the primary this often (the paper's code: 10 us).
const POLL: Duration = Duration::from_micros(10);

/// Cost with backups: 4 round trips under rule 1, one more under rule 2, two more under rule 3; without: 2.
pub(super) async fn replace<F: Fabric>(
    cx: &Context<'_, F>,
    change: &Replace<'_>,
) -> Result<Replaced, Failure> {
    // Phase 1: the object everywhere, and a look at the primary.
    let seen = {
        let chain = write_entry(change, Chain::new(), cx.primary_segment());
        let primary = cx.post_primary(chain.read_word(cx.primary_segment().slot(change.slot)));
        let backups =
            cx.home.backups().iter().enumerate().filter(|_| matches!(change.place, Place::Entry(_)));
        let backups = backups.map(|(i, m)| cx.post_backup(i, write_entry(change, Chain::new(), &m.segment)));
        let mut answers = join_all(std::iter::once(primary).chain(backups)).await.into_iter();
        let first = answers.next().expect("the primary answered").map_err(Failure::harmless)?;
        for answer in answers {
            answer.map_err(Failure::harmless)?;
        }
        Word::from_raw(first[0])
    };
    if seen != change.expected {
        return Ok(Replaced::Lost { now: seen });
    }
    if !cx.home.backups().is_empty() && !win_backups(cx, change).await.map_err(|f| f.after(true))? {
        return await_winner(cx, change.slot, change.expected).await.map_err(|f| f.after(true));
    }
    // Phase 3: the log commit says to a recovery that this round was won.
    if let (Place::Entry(staged) | Place::Relink(staged), false) =
        (change.place, cx.home.backups().is_empty())
    {
        let primary = cx.post_primary(staged.relink(Chain::new(), cx.primary_segment(), change.expected));
        let backups = cx.home.backups().iter().enumerate();
        let backups =
            backups.map(|(i, m)| cx.post_backup(i, staged.relink(Chain::new(), &m.segment, change.expected)));
        for answer in join_all(std::iter::once(primary).chain(backups)).await {
            answer.map_err(Failure::maybe)?;
        }
    }
    // Phase 4: the primary, last.
    let chain = Chain::new().compare_swap(
        cx.primary_segment().slot(change.slot),
        change.expected.raw(),
        change.to.raw(),
    );
    let old = Word::from_raw(cx.post_primary(chain).await.map_err(Failure::maybe)?[0]);
    if old == change.expected { Ok(Replaced::Won) } else { Ok(Replaced::Lost { now: old }) }
}

fn write_entry(change: &Replace<'_>, chain: Chain, segment: &farrow_layout::SegmentPlan) -> Chain {
    match change.place {
        Place::Entry(staged) => staged.write(chain, segment),
        Place::Relink(_) | Place::Nothing => chain,
    }
}

/// Phase 2 and the rules: whether this writer has won the round on the backups, which then all hold its word.
async fn win_backups<F: Fabric>(cx: &Context<'_, F>, change: &Replace<'_>) -> Result<bool, Failure> {
    let members = cx.home.backups().iter().enumerate();
    let (expected, to) = (change.expected_at_backups, change.to);
    let posted = members.map(|(i, m)| {
        cx.post_backup(i, Chain::new().compare_swap(m.segment.slot(change.slot), expected.raw(), to.raw()))
    });
    let mut list = Vec::new();
    for answer in join_all(posted).await {
        let old = Word::from_raw(answer.map_err(Failure::maybe)?[0]);
        list.push(if old == expected { to } else { old });
    }
    match evaluate(to, &list) {
        Verdict::AllMine => {
            cx.note(Event::SnapshotRule1);
            return Ok(true);
        }
        // All who empty a slot propose the same word, so what counts as mine may be another's, whose round is over: then the
        // rest of the list is of a later round, and must not be overwritten. The paper's deletes log a unique object.
        Verdict::MajorityMine if to.is_empty() => {
            if !is_round_open(cx, change).await? {
                cx.note(Event::SnapshotLost);
                return Ok(false);
            }
            cx.note(Event::SnapshotRule2);
        }
        Verdict::MajorityMine => cx.note(Event::SnapshotRule2),
        Verdict::Smallest { mine } => {
            let is_open = mutant::is(Mutant::RuleThreeUnread) || is_round_open(cx, change).await?;
            if !is_open || !mine {
                cx.note(Event::SnapshotLost);
                return Ok(false);
            }
            cx.note(Event::SnapshotRule3);
        }
        Verdict::Lost => {
            cx.note(Event::SnapshotLost);
            return Ok(false);
        }
    }
    let others = list.iter().enumerate().filter(|(_, held)| **held != to);
    let posted = others.map(|(i, held)| {
        let at = cx.home.backups()[i].segment.slot(change.slot);
        cx.post_backup(i, Chain::new().compare_swap(at, held.raw(), to.raw()))
    });
    for answer in join_all(posted).await {
        answer.map_err(Failure::maybe)?;
    }
    Ok(true)
}

/// Whether the primary still holds what the round began with: then the list that was collected is of this round.
async fn is_round_open<F: Fabric>(cx: &Context<'_, F>, change: &Replace<'_>) -> Result<bool, Failure> {
    let at = cx.primary_segment().slot(change.slot);
    let now = cx.post_primary(Chain::new().read_word(at)).await.map_err(Failure::maybe)?;
    Ok(now[0] == change.expected.raw())
}

/// LOSE: waits until the winner of the round has changed the primary. Bounded by the operation's deadline alone: a
/// winner that died leaves its losers waiting, which is one of the reasons for `colocated`.
async fn await_winner<F: Fabric>(
    cx: &Context<'_, F>,
    slot: SlotAddr,
    expected: Word,
) -> Result<Replaced, Failure> {
    loop {
        let at = cx.primary_segment().slot(slot);
        let now =
            Word::from_raw(cx.post_primary(Chain::new().read_word(at)).await.map_err(Failure::maybe)?[0]);
        if now != expected || mutant::is(Mutant::LoserDoesNotWait) {
            return Ok(Replaced::Lost { now });
        }
        cx.fabric.sleep_until(cx.fabric.now() + POLL).await;
    }
}
