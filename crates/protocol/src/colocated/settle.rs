//! Help: whoever meets a pending slot completes it, so that nothing is answered that a lost primary could take back.

use super::Colocated;
use super::repair::MAX_ROUNDS;
use super::rules::{Backup, judge};
use crate::mutant::{self, Mutant};
use crate::ops::EntryRead;
use crate::{Commit, Concluded, Context, Event, Failure, ProtocolError};
use farrow_fabric::{Chain, Fabric, join_all};
use farrow_layout::{Slot, SlotAddr, Word};

/// Brings the primary's word to all backups. Returns the word that was `seen`, or a later one that needs a look of its
/// own. Cost: one round trip when the backups are up already, two when not.
pub(super) async fn settle<F: Fabric>(
    cx: &Context<'_, F>,
    slot: SlotAddr,
    seen: Slot,
) -> Result<Word, Failure> {
    let word = seen.word();
    if word.is_tentative() || !seen.is_pending() {
        return Ok(word);
    }
    if cx.home.backups().is_empty() {
        // Where there is one replica, what it holds is on all of them.
        if cx.home.is_open() {
            Colocated.conclude(cx, slot, word, Concluded::Update);
        }
        return Ok(word);
    }
    cx.check_open()?;
    for _ in 0..MAX_ROUNDS {
        let bytes = if word.is_visible() { Some(EntryRead::pooled(cx, word)?) } else { None };
        let chain = bytes.as_ref().map_or(Chain::new(), |b| b.post(Chain::new(), cx.primary_segment()));
        let at_primary = cx.post_primary(chain.read_word(cx.primary_segment().slot(slot)));
        let at_backups = cx.home.backups().iter().enumerate();
        let at_backups =
            at_backups.map(|(i, m)| cx.post_backup(i, Chain::new().read_word(m.segment.slot(slot))));
        let mut answers = join_all(std::iter::once(at_primary).chain(at_backups)).await.into_iter();
        let now = answers.next().expect("the primary answered").map_err(Failure::harmless)?;
        if now[0] != word.raw() {
            return Ok(Word::from_raw(now[0]));
        }
        let mut repairs = Vec::new();
        for (i, answer) in answers.enumerate() {
            let held = Word::from_raw(answer.map_err(Failure::harmless)?[0]);
            if judge(held, word) == Backup::Fine {
                continue;
            }
            let member = &cx.home.backups()[i];
            // Bytes first: the chain of a dead writer may never have reached this backup, and a word without its entry
            // is a lost value.
            let chain = match &bytes {
                Some(bytes) if !mutant::is(Mutant::HelpWithoutBytes) => {
                    bytes.write_to(Chain::new(), &member.segment, word)?
                }
                _ => Chain::new(),
            };
            repairs.push((i, held, chain.compare_swap(member.segment.slot(slot), held.raw(), word.raw())));
        }
        // Posted when all are made: the entry's bytes are out of our reach as soon as the first WRITE is on its way.
        let held: Vec<_> = repairs.iter().map(|(_, held, _)| *held).collect();
        let posted: Vec<_> = repairs.into_iter().map(|(i, _, chain)| cx.post_backup(i, chain)).collect();
        let mut up = true;
        for (held, answer) in held.into_iter().zip(join_all(posted).await) {
            let swapped = answer.map_err(Failure::harmless)?[0] == held.raw();
            up &= swapped;
            if swapped {
                cx.note(Event::RepairedBackup);
            }
        }
        if up {
            cx.note(Event::Helped);
            Colocated.conclude(cx, slot, word, Concluded::Update);
            return Ok(word);
        }
    }
    Err(Failure::harmless(ProtocolError::Contended { attempts: MAX_ROUNDS }))
}
