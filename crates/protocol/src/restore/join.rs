//! The last part of a restore: what could still change is copied while the home is closed.

use super::copy::{Copy, RECORDS_AT_ONCE};
use super::{Copied, Pace};
use crate::mutant::{self, Mutant};
use crate::{Event, Events, Failure, Home, Member};
use farrow_fabric::{Chain, Fabric, Link, Meter};
use farrow_layout::{ExtentRecord, ExtentState, ExtentWord, GROUP_LEN};
use std::cell::Cell;

/// What a new member came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Bytes that were copied while the home was closed.
    pub copied: u64,
}

/// Brings to `target` what [`super::copy_sealed`] has left: extents that are open, or that were sealed since; then the table;
/// then the index with its committed words. When it returns, the target holds all that the primary does, and may be published
/// as the last member.
///
/// `view` must be closed, and its members made alike ([`crate::make_alike`]). May be stopped at any await, and begun anew in a
/// later closing.
///
/// # Errors
/// [`Failure`] when the primary or the target is lost, or another agent has closed the home again. The target is no member
/// yet, so nothing is to be taken back.
pub async fn join_member<F: Fabric>(
    fabric: &F,
    events: &Events,
    meter: &Meter,
    view: &Home<F::Link>,
    target: &Member<F::Link>,
    copied: &mut Copied,
) -> Result<Joined, Failure> {
    assert!(!view.is_open(), "home {} is open: what is copied now may change behind it", view.id());
    let (pace, progress) = (Pace::none(), Cell::new(0));
    let copy = Copy { fabric, meter, source: view.primary(), target, pace: &pace, progress: &progress };
    let extents = view.primary().segment.plan().extents();
    copied.continue_from(view.primary().link.node(), extents);
    let mut joined = Joined::default();
    let table = copy.table_buffer()?;
    let mut first = 0;
    while first < extents {
        let count = RECORDS_AT_ONCE.min(extents - first);
        let words = copy.read_table(&table, first, count).await?;
        joined.copied += copy
            .extents(first, &words, copied, |word| match word.state() {
                ExtentState::Free => false,
                ExtentState::Open => !mutant::is(Mutant::OpenExtentsLeft),
                ExtentState::Sealed | ExtentState::Unknown(_) => true,
            })
            .await?;
        let (at, len) = target.segment.extent_records(first, count);
        let chain = Chain::new().write(at, table.slice(0, len));
        meter.post(&target.link, chain).await.map_err(Failure::harmless)?;
        joined.copied += len as u64;
        first += count;
    }
    if !copied.has_index {
        joined.copied += copy.index().await?;
    }
    events.note(Event::JoinedMember);
    Ok(joined)
}

/// How many bytes [`join_member`] would have to copy now, while the home is closed.
///
/// # Errors
/// [`Failure`] when the source is lost.
pub async fn frozen_bytes<F: Fabric>(
    fabric: &F,
    meter: &Meter,
    source: &Member<F::Link>,
    copied: &Copied,
) -> Result<u64, Failure> {
    let (pace, progress) = (Pace::none(), Cell::new(0));
    let copy = Copy { fabric, meter, source, target: source, pace: &pace, progress: &progress };
    let geometry = source.segment.plan().geometry();
    let extents = source.segment.plan().extents();
    let mut bytes = extents * ExtentRecord::LEN as u64;
    bytes += u64::from(geometry.partitions) * geometry.groups * GROUP_LEN;
    let table = copy.table_buffer()?;
    let mut first = 0;
    while first < extents {
        let count = RECORDS_AT_ONCE.min(extents - first);
        let words = copy.read_table(&table, first, count).await?;
        let is_missing = |(extent, word): &(u64, ExtentWord)| {
            word.state() != ExtentState::Free && !copied.has(*extent, *word)
        };
        bytes += (first..).zip(words).filter(is_missing).count() as u64 * geometry.extent_len;
        first += count;
    }
    Ok(bytes)
}
