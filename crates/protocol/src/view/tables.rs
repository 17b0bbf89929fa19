//! Making the tables of extents of a closed home alike: what any member knows of an extent, all of them know.

use crate::{Failure, Home};
use farrow_fabric::{Buffer, Chain, Fabric, Meter, join_all};
use farrow_layout::ExtentRecord;

/// Records that one READ fetches: 64 KiB.
const RECORDS_AT_ONCE: u64 = 4096;

/// Makes the tables of extents of all members alike. Returns how many extents they said different things about. The home
/// must be closed, to clients and to the daemons that grant and seal extents.
///
/// The record that is ahead counts ([`farrow_layout::ExtentWord::is_ahead_of`]): a backup hears of a grant from its owner
/// alone, at one time or another, so any survivor may be the only one that knows. What nobody heard of was never written to.
///
/// Cost: 1 round trip for 4096 extents, and 1 for those of them that differ.
///
/// # Errors
/// [`Failure`] when a member is lost: close again, and begin anew.
pub async fn equalise_tables<F: Fabric>(
    fabric: &F,
    meter: &Meter,
    home: &Home<F::Link>,
) -> Result<u64, Failure> {
    if home.backups().is_empty() {
        return Ok(0);
    }
    let extents = home.primary().segment.plan().extents();
    let room = (RECORDS_AT_ONCE.min(extents)) as usize * ExtentRecord::LEN;
    let take = || fabric.buffers().take(room);
    let buffers: Vec<Buffer> = home.members().iter().map(|_| take()).collect::<Result<_, _>>()?;
    let merged = take()?;
    let (mut first, mut differed) = (0, 0);
    while first < extents {
        let count = RECORDS_AT_ONCE.min(extents - first);
        let posted = home.members().iter().zip(&buffers).map(|(member, buffer)| {
            let (at, len) = member.segment.extent_records(first, count);
            meter.post(&member.link, Chain::new().read(at, buffer.slice(0, len)))
        });
        for answer in join_all(posted.collect::<Vec<_>>()).await {
            answer.map_err(Failure::harmless)?;
        }
        differed += bring_up(meter, home, &buffers, &merged, first, count).await?;
        first += count;
    }
    Ok(differed)
}

/// Writes what all are to say to those that do not, as one range each: from the first record that differs to the last.
async fn bring_up<F: farrow_fabric::Link>(
    meter: &Meter,
    home: &Home<F>,
    buffers: &[Buffer],
    merged: &Buffer,
    first: u64,
    count: u64,
) -> Result<u64, Failure> {
    let records = |buffer: &Buffer| -> Vec<ExtentRecord> {
        buffer.with(|bytes| ExtentRecord::all_in(bytes).take(count as usize).collect())
    };
    let held: Vec<Vec<ExtentRecord>> = buffers.iter().map(records).collect();
    let target: Vec<ExtentRecord> = (0..count as usize)
        .map(|at| held[1..].iter().fold(held[0][at], |ahead, other| ahead.merged(other[at])))
        .collect();
    merged.with_mut(|bytes| target.iter().enumerate().for_each(|(at, record)| record.put_into(bytes, at)));
    let differs = |at: &usize| held.iter().any(|records| records[*at] != target[*at]);
    let differed = (0..target.len()).filter(differs).count() as u64;
    let mut posted = Vec::new();
    for (member, records) in home.members().iter().zip(&held) {
        let differs = |at: &usize| records[*at] != target[*at];
        let Some(from) = (0..target.len()).find(differs) else { continue };
        let to = (0..target.len()).rfind(differs).expect("one differs") + 1;
        let (at, len) = member.segment.extent_records(first + from as u64, (to - from) as u64);
        let chain = Chain::new().write(at, merged.slice(from * ExtentRecord::LEN, len));
        posted.push(meter.post(&member.link, chain));
    }
    for answer in join_all(posted).await {
        answer.map_err(Failure::harmless)?;
    }
    Ok(differed)
}
