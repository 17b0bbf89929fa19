//! PUT and DELETE on a slot whose word is known: [WRITE entry, CAS slot] on every member, in parallel.

use super::{Colocated, repair, rules};
use crate::context::Answer;
use crate::mutant::{self, Mutant};
use crate::{Commit, Concluded, Context, Event, Failure, Place, Replace, Replaced};
use farrow_fabric::{Chain, Effect, Fabric, VerbError, join_all};
use farrow_layout::{SegmentPlan, Word};

/// Cost: one round trip, 2 verbs a member; more where a backup has to be repaired.
pub(super) async fn replace<F: Fabric>(
    cx: &Context<'_, F>,
    change: &Replace<'_>,
) -> Result<Replaced, Failure> {
    // The entry precedes its word on the same link, and a link keeps order: whoever sees the word on a node can read the
    // whole entry there.
    let primary = cx.post_primary(chain(change, cx.primary_segment(), change.expected));
    let backups = cx.home.backups().iter().enumerate();
    let backups =
        backups.map(|(i, m)| cx.post_backup(i, chain(change, &m.segment, change.expected_at_backups)));
    let answers = join_all(std::iter::once(primary).chain(backups)).await;
    let old = old_words::<F>(answers)?;

    if old[0] != change.expected {
        return Ok(Replaced::Lost { now: old[0] });
    }
    if mutant::is(Mutant::CommittedEarly) {
        Colocated.conclude(cx, change.slot, change.to, Concluded::Update);
    }
    for (backup, old) in old[1..].iter().enumerate() {
        if rules::after_cas(*old, change.expected_at_backups, change.to) == rules::Backup::Behind
            && !mutant::is(Mutant::NoRepair)
        {
            repair::bring_up(cx, change.slot, backup, change.to).await.map_err(|f| f.after(true))?;
        }
    }
    if old[1..].iter().any(|o| o.version().is_newer_than(change.to.version())) {
        cx.note(Event::BackupAhead);
    }
    Ok(Replaced::Won)
}

/// What one member is sent, which is to hold `expected`.
fn chain(change: &Replace<'_>, segment: &SegmentPlan, expected: Word) -> Chain {
    let swap = |chain: Chain| chain.compare_swap(segment.slot(change.slot), expected.raw(), change.to.raw());
    if mutant::is(Mutant::EntryAfterWord) {
        return place(change, swap(Chain::new()), segment);
    }
    swap(place(change, Chain::new(), segment))
}

fn place(change: &Replace<'_>, chain: Chain, segment: &SegmentPlan) -> Chain {
    match change.place {
        Place::Entry(staged) => staged.write(chain, segment),
        Place::Relink(staged) => staged.relink(chain, segment, change.expected),
        Place::Nothing => chain,
    }
}

/// The words that the CASes met, or why that is not known.
fn old_words<F: Fabric>(answers: Vec<<Answer<F> as Future>::Output>) -> Result<Vec<Word>, Failure> {
    let executed = answers.iter().any(Result::is_ok);
    let mut words = Vec::with_capacity(answers.len());
    let mut failed: Option<VerbError> = None;
    for answer in answers {
        match answer {
            Ok(answers) => words.push(Word::from_raw(answers[0])),
            Err(error) if failed.is_none_or(|f| f.effect == Effect::None) => failed = Some(error),
            Err(_) => {}
        }
    }
    match failed {
        None => Ok(words),
        Some(error) => {
            let executed = executed && !mutant::is(Mutant::MaybeForgotten);
            let effect = if executed { Effect::Maybe } else { error.effect };
            Err(Failure { error: error.into(), effect, in_doubt: None })
        }
    }
}
