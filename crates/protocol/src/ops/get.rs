//! GET and EXISTS.

use super::entry_read::Opened;
use super::{EntryRead, Known, MAX_ATTEMPTS, Target, Value, back_off};
use crate::index::{BucketPair, Lookup, find};
use crate::mutant::{self, Mutant};
use crate::{Commit, Context, Event, Failure, Found, ProtocolError};
use farrow_fabric::{Chain, Fabric};
use farrow_layout::Slot;

/// What a GET found.
#[derive(Clone, Debug)]
pub enum GetOutcome {
    /// The key is there.
    Present(Value, Found),
    /// The key is not there, and was not at some moment within the operation.
    Absent,
}

/// Reads a key's value. Cost: 1 round trip and 2 verbs when `known` is right, 2 round trips and 4 verbs when nothing is
/// known; more when the slot is pending or changes meanwhile.
///
/// # Errors
/// [`Failure`], always with [`farrow_fabric::Effect::None`]: reading changes nothing that is visible.
/// [`ProtocolError::Closed`] in a closed home when the slot is pending.
pub async fn get<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    known: Known,
    target: &Target,
) -> Result<GetOutcome, Failure> {
    check_readable::<F, C>(cx)?;
    if let Some(found) = known
        && let Some((read, found)) = get_known(cx, commit, found, target).await?
    {
        let value = open(cx, read, found, target).await?;
        return Ok(GetOutcome::Present(value, found));
    }
    let buckets = BucketPair::new(cx)?;
    for attempt in 0..MAX_ATTEMPTS {
        back_off(cx, attempt).await;
        cx.post_primary(buckets.read(Chain::new(), cx.primary_segment())).await.map_err(Failure::harmless)?;
        let lookup = find(cx, commit, &buckets, |cx, word, matches| match matches {
            1 => EntryRead::scattered(cx, word, target),
            // Several fingerprints match: only one of the entries may go to the application's memory.
            _ => EntryRead::pooled(cx, word),
        });
        match lookup.await? {
            Lookup::Present(found, read) => {
                let value = open(cx, read, found, target).await?;
                return Ok(GetOutcome::Present(value, found));
            }
            Lookup::Absent(_) => return Ok(GetOutcome::Absent),
            Lookup::Again => {}
        }
    }
    Err(Failure::harmless(ProtocolError::Contended { attempts: MAX_ATTEMPTS }))
}

/// What a protocol's slots do not say about themselves cannot be asked of them while their home is closed.
fn check_readable<F: Fabric, C: Commit>(cx: &Context<'_, F>) -> Result<(), Failure> {
    if C::READS_CLOSED { Ok(()) } else { cx.check_open() }
}

/// One round trip with a cached word: the entry, then its slot. An unchanged slot behind the entry proves the entry.
async fn get_known<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    mut found: Found,
    target: &Target,
) -> Result<Option<(EntryRead, Found)>, Failure> {
    // A second round with the fresh word, and then the buckets.
    for _ in 0..2 {
        let read = EntryRead::scattered(cx, found.word, target)?;
        let at = cx.primary_segment().slot(found.slot);
        let chain = read.post(Chain::new(), cx.primary_segment()).read_word_pair(at);
        let answers = cx.post_primary(chain).await.map_err(Failure::harmless)?;
        let now = Slot { word: answers[0], committed: answers[1] };
        if mutant::is(Mutant::StaleCacheAccepted) && read.names(cx.key) {
            return Ok(Some((read, found)));
        }
        if now.word() == found.word && read.names(cx.key) {
            if mutant::is(Mutant::ReadersDoNotHelp)
                || !commit.needs_settling(&now)
                || commit.settle(cx, found.slot, now).await? == found.word
            {
                return Ok(Some((read, found)));
            }
            cx.note(Event::Restarted);
            return Ok(None);
        }
        cx.note(Event::StaleCache);
        if now.word() == found.word
            || !now.word().is_visible()
            || now.word().fingerprint() != cx.hash.fingerprint()
        {
            return Ok(None);
        }
        found.word = now.word();
    }
    Ok(None)
}

/// Checks the entry's bytes; when the primary's are wrong, a backup's are tried: the word is on all of them.
async fn open<F: Fabric>(
    cx: &Context<'_, F>,
    read: EntryRead,
    found: Found,
    target: &Target,
) -> Result<Value, Failure> {
    let first = match read.open(cx.key, target) {
        Ok(value) => return Ok(value),
        Err(Opened::TooSmall { needed, room }) => {
            return Err(Failure::harmless(ProtocolError::BufferTooSmall { needed, room }));
        }
        Err(Opened::Wrong(why)) => why,
    };
    for (i, member) in cx.home.backups().iter().enumerate() {
        let read = EntryRead::pooled(cx, found.word)?;
        cx.post_backup(i, read.post(Chain::new(), &member.segment)).await.map_err(Failure::harmless)?;
        if let Ok(value) = read.open(cx.key, target) {
            cx.note(Event::ReadBackupCopy);
            return Ok(value);
        }
    }
    Err(Failure::harmless(ProtocolError::Corrupt { word: found.word, why: first }))
}

/// Whether a key is there, and as which version. Cost: 1 round trip and 1 verb when `known` is right, otherwise as a GET
/// that reads keys alone.
///
/// # Errors
/// As [`get`].
pub async fn exists<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
    known: Known,
) -> Result<Option<Found>, Failure> {
    check_readable::<F, C>(cx)?;
    if let Some(found) = known {
        let at = cx.primary_segment().slot(found.slot);
        let answers = cx.post_primary(Chain::new().read_word_pair(at)).await.map_err(Failure::harmless)?;
        let now = Slot { word: answers[0], committed: answers[1] };
        if now.word() == found.word
            && (mutant::is(Mutant::ReadersDoNotHelp)
                || !commit.needs_settling(&now)
                || commit.settle(cx, found.slot, now).await? == found.word)
        {
            return Ok(Some(found));
        }
        cx.note(Event::StaleCache);
    }
    look_up(cx, commit).await
}

/// Finds the key's slot, reading no more than keys. `None`: it is not there.
pub(super) async fn look_up<F: Fabric, C: Commit>(
    cx: &Context<'_, F>,
    commit: C,
) -> Result<Option<Found>, Failure> {
    let buckets = BucketPair::new(cx)?;
    for attempt in 0..MAX_ATTEMPTS {
        back_off(cx, attempt).await;
        cx.post_primary(buckets.read(Chain::new(), cx.primary_segment())).await.map_err(Failure::harmless)?;
        match find(cx, commit, &buckets, |cx, word, _| EntryRead::key_only(cx, word)).await? {
            Lookup::Present(found, _) => return Ok(Some(found)),
            Lookup::Absent(_) => return Ok(None),
            Lookup::Again => {}
        }
    }
    Err(Failure::harmless(ProtocolError::Contended { attempts: MAX_ATTEMPTS }))
}
