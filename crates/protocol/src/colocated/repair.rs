//! Bringing one backup up to a word that the primary holds.

use super::rules::{Backup, judge};
use super::settle::settle;
use crate::ops::EntryRead;
use crate::{Context, Event, Failure, ProtocolError};
use farrow_fabric::{Chain, Fabric};
use farrow_layout::{Slot, SlotAddr, Word};

/// Rounds that one repair takes at most before it says so; each is lost to another client's progress.
pub(super) const MAX_ROUNDS: u32 = 1000;

/// Brings `backup` to `target`, which this client has put at the primary, or sees to it that all backups hold what
/// followed `target` there. Cost: 2 round trips and the entry's bytes once more, unless others interfere.
pub(super) async fn bring_up<F: Fabric>(
    cx: &Context<'_, F>,
    slot: SlotAddr,
    backup: usize,
    target: Word,
) -> Result<(), Failure> {
    let member = &cx.home.backups()[backup];
    let mut bytes: Option<EntryRead> = None;
    for _ in 0..MAX_ROUNDS {
        let (primary_at, backup_at) = (cx.primary_segment().slot(slot), member.segment.slot(slot));
        if bytes.is_none() && target.is_visible() {
            bytes = Some(EntryRead::pooled(cx, target)?);
        }
        // The entry's bytes come from the primary, where its word proves them complete.
        let chain = bytes.as_ref().map_or(Chain::new(), |b| b.post(Chain::new(), cx.primary_segment()));
        let at_primary = cx.post_primary(chain.read_word_pair(primary_at));
        let at_backup = cx.post_backup(backup, Chain::new().read_word(backup_at));
        let now = at_primary.await.map_err(Failure::harmless)?;
        let held = Word::from_raw(at_backup.await.map_err(Failure::harmless)?[0]);
        if judge(held, target) == Backup::Fine {
            return Ok(());
        }
        let now = Slot { word: now[0], committed: now[1] };
        if now.word() != target {
            // Somebody has moved on at the primary, and the backup has not followed yet: what is there now must be on all
            // replicas before this operation may answer, or a lost primary would take both back.
            settle(cx, slot, now).await?;
            return Ok(());
        }
        let chain = match &bytes {
            Some(bytes) => bytes.write_to(Chain::new(), &member.segment, target)?,
            None => Chain::new(),
        };
        let old = cx
            .post_backup(backup, chain.compare_swap(backup_at, held.raw(), target.raw()))
            .await
            .map_err(Failure::harmless)?;
        if old[0] == held.raw() {
            cx.note(Event::RepairedBackup);
            return Ok(());
        }
    }
    Err(Failure::maybe(ProtocolError::Contended { attempts: MAX_ROUNDS }))
}
