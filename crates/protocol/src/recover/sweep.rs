//! The index of an open home, slot by slot: what is half done is completed, what a lost client claimed is given up.

use super::OpenGrant;
use super::rules::{Todo, is_of, judge};
use crate::index::remove_tentative;
use crate::{Colocated, Commit, Context, Event, Events, Failure, Home, ProtocolError};
use farrow_fabric::{Buffer, Chain, Fabric, Meter, join_all};
use farrow_layout::{GROUP_LEN, KeyHash, Slot, SlotAddr, SlotIndex, Word, slots_of_groups};
use std::cell::Cell;

/// Groups of buckets that one READ fetches: 24 KiB.
const GROUPS_AT_ONCE: u64 = 64;
/// Looks at one slot; each is lost to somebody else's progress.
const MAX_ROUNDS: u32 = 1000;

/// What was found and done in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Slots that were looked at.
    pub slots: u64,
    /// Pending words that were brought to all replicas.
    pub settled: u64,
    /// Claims to slots that were withdrawn.
    pub withdrawn: u64,
    /// Words that were taken back from a backup.
    pub taken_back: u64,
    /// Slots left as they are, since the entry at the primary is corrupt: whoever wants the key will be told.
    pub corrupt: u64,
}

/// Completes every pending word of an open home, as whoever meets it would. Worth its while after anything that leaves many of
/// them behind; nothing depends on it.
///
/// Cost: 1 round trip for 1344 slots, and 1 or 2 for each that is pending.
///
/// # Errors
/// [`Failure`] when a link was lost or the home was closed.
pub async fn sweep_pending<F: Fabric>(
    fabric: &F,
    events: &Events,
    meter: &Meter,
    home: &Home<F::Link>,
) -> Result<Swept, Failure> {
    let swept = Cell::new(Swept::default());
    each_slot(fabric, events, meter, home, 1, async |cx, slot, primary, _| {
        let mut so_far = swept.get();
        so_far.slots += 1;
        if Colocated.needs_settling(&primary) {
            match Colocated.settle(cx, slot, primary).await {
                Ok(_) => so_far.settled += 1,
                Err(failure) => so_far.leave(failure)?,
            }
        }
        swept.set(so_far);
        Ok(())
    })
    .await?;
    Ok(swept.get())
}

/// Sweeps behind a client that had `grants` open, and that every member has evicted.
pub(super) async fn sweep_after<F: Fabric>(
    fabric: &F,
    events: &Events,
    meter: &Meter,
    home: &Home<F::Link>,
    grants: &[OpenGrant],
) -> Result<Swept, Failure> {
    let swept = Cell::new(Swept::default());
    each_slot(fabric, events, meter, home, home.members().len(), async |cx, slot, primary, backups| {
        let mut so_far = swept.get();
        so_far.slots += 1;
        let is_own = |word| is_of(cx.plan(), grants, word);
        if judge(primary, &backups, is_own) != Todo::Nothing
            && let Err(failure) = put_in_order(cx, slot, is_own, &mut so_far).await
        {
            so_far.leave(failure)?;
        }
        swept.set(so_far);
        Ok(())
    })
    .await?;
    Ok(swept.get())
}

impl Swept {
    /// Counts a slot that cannot be put in order, if it is the slot that is to blame.
    fn leave(&mut self, failure: Failure) -> Result<(), Failure> {
        match failure.error {
            ProtocolError::Corrupt { .. } | ProtocolError::WildWord { .. } => self.corrupt += 1,
            _ => return Err(failure),
        }
        Ok(())
    }
}

/// Shows each slot as it is at the primary, with its words at the backups among the first `count` members.
async fn each_slot<F: Fabric>(
    fabric: &F,
    events: &Events,
    meter: &Meter,
    home: &Home<F::Link>,
    count: usize,
    mut look: impl AsyncFnMut(&Context<'_, F>, SlotAddr, Slot, Vec<Word>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let geometry = home.primary().segment.plan().geometry();
    let members = &home.members()[..count];
    let room = (GROUPS_AT_ONCE.min(geometry.groups) * GROUP_LEN) as usize;
    let buffers: Vec<Buffer> =
        members.iter().map(|_| fabric.buffers().take(room)).collect::<Result<_, _>>()?;
    for partition in 0..geometry.partitions {
        // It is about no key in particular.
        let key = b"";
        let hash = KeyHash::of(key);
        let cx = Context { fabric, meter, events, home, partition, key, hash };
        cx.check_open()?;
        for first in (0..geometry.groups).step_by(GROUPS_AT_ONCE as usize) {
            let groups = GROUPS_AT_ONCE.min(geometry.groups - first);
            let len = (groups * GROUP_LEN) as usize;
            let posted = members.iter().zip(&buffers).map(|(member, buffer)| {
                let (at, len) = member.segment.groups(partition, first, groups);
                meter.post(&member.link, Chain::new().read(at, buffer.slice(0, len)))
            });
            for answer in join_all(posted.collect::<Vec<_>>()).await {
                answer.map_err(Failure::harmless)?;
            }
            let of = |b: &Buffer| b.with(|bytes| slots_of_groups(&bytes[..len], first).collect());
            let slots: Vec<Vec<(SlotIndex, Slot)>> = buffers.iter().map(of).collect();
            for (at, (index, primary)) in slots[0].iter().enumerate() {
                let backups = slots[1..].iter().map(|member| member[at].1.word()).collect();
                look(&cx, SlotAddr { partition, index: *index }, *primary, backups).await?;
            }
        }
    }
    Ok(())
}

/// Reads a slot everywhere until nothing is to be done about it.
async fn put_in_order<F: Fabric>(
    cx: &Context<'_, F>,
    slot: SlotAddr,
    is_own: impl Fn(Word) -> bool,
    swept: &mut Swept,
) -> Result<(), Failure> {
    let mut settled = None;
    for _ in 0..MAX_ROUNDS {
        let primary = cx.post_primary(Chain::new().read_word_pair(cx.primary_segment().slot(slot)));
        let backups = cx.home.backups().iter().enumerate();
        let backups = backups.map(|(i, m)| cx.post_backup(i, Chain::new().read_word(m.segment.slot(slot))));
        let mut answers = join_all(std::iter::once(primary).chain(backups)).await.into_iter();
        let now = answers.next().expect("the primary answered").map_err(Failure::harmless)?;
        let mut now = Slot { word: now[0], committed: now[1] };
        if settled == Some(now.word()) {
            // That it is committed may be on its way still.
            now.committed = now.word;
        }
        let held = answers.map(|answer| Ok(Word::from_raw(answer.map_err(Failure::harmless)?[0])));
        let held: Vec<Word> = held.collect::<Result<_, Failure>>()?;
        match judge(now, &held, &is_own) {
            Todo::Nothing => return Ok(()),
            Todo::LookAgain => {}
            Todo::Settle => {
                if Colocated.settle(cx, slot, now).await? == now.word() {
                    swept.settled += 1;
                    settled = Some(now.word());
                }
            }
            Todo::Withdraw => {
                let gone = remove_tentative(cx, Colocated, slot, now.word()).await?;
                if gone == now.word().emptied() {
                    swept.withdrawn += 1;
                    settled = Some(gone);
                }
            }
            Todo::TakeBack { backup } => {
                let at = cx.home.backups()[backup].segment.slot(slot);
                // What it is to hold again it held before, so it has that word's entry.
                let chain = Chain::new().compare_swap(at, held[backup].raw(), now.word().raw());
                let old = cx.post_backup(backup, chain).await.map_err(Failure::harmless)?;
                if old[0] == held[backup].raw() {
                    swept.taken_back += 1;
                    cx.note(Event::TookBackStray);
                }
            }
        }
    }
    Err(Failure::harmless(ProtocolError::Contended { attempts: MAX_ROUNDS }))
}
