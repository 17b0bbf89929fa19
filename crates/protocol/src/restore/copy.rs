//! Copying from one replica of a segment to another.

use super::{Copied, Pace};
use crate::mutant::{self, Mutant};
use crate::spread::spread;
use crate::{Failure, Member};
use farrow_fabric::{Buffer, Chain, Fabric, Link, Meter};
use farrow_layout::{BlockAddr, ExtentRecord, ExtentState, ExtentWord, GROUP_LEN, RemoteAddr};
use std::cell::{Cell, RefCell};

/// Bytes of one READ and one WRITE: large enough that they cost by the byte, small enough that several lie in a cache.
const PIECE: u64 = 256 << 10;
/// Pieces on their way at the same time.
const PIECES_AT_ONCE: usize = 4;
/// Records of the table that one READ fetches: 64 KiB.
pub(super) const RECORDS_AT_ONCE: u64 = 4096;

/// What one pass over a segment came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Bytes that were copied.
    pub copied: u64,
    /// Bytes of extents that are open, so that they can be copied only once the home is closed.
    pub open: u64,
}

/// One replica of a home, and where another copy of it is made.
pub(super) struct Copy<'a, F: Fabric> {
    pub(super) fabric: &'a F,
    pub(super) meter: &'a Meter,
    pub(super) source: &'a Member<F::Link>,
    pub(super) target: &'a Member<F::Link>,
    pub(super) pace: &'a Pace,
    /// Counts bytes as they arrive.
    pub(super) progress: &'a Cell<u64>,
}

/// Extents that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    count: u64,
}

/// Copies every extent that is sealed at `source` and not in `copied` yet to `target`, under `pace`, while clients work.
/// `progress` grows by each byte that has arrived. Once a pass has copied little, the rest can be left to
/// [`super::join_member`].
///
/// Cost: 1 round trip for 4096 extents, 2 for each 256 KiB, of which 4 are on their way at once.
///
/// # Errors
/// [`Failure`] when either node is lost, or the home was closed: what had arrived is in `copied`, so it may be called again.
pub async fn copy_sealed<F: Fabric>(
    fabric: &F,
    meter: &Meter,
    source: &Member<F::Link>,
    target: &Member<F::Link>,
    copied: &mut Copied,
    pace: &Pace,
    progress: &Cell<u64>,
) -> Result<Pass, Failure> {
    let copy = Copy { fabric, meter, source, target, pace, progress };
    let extents = source.segment.plan().extents();
    copied.continue_from(source.link.node(), extents);
    if mutant::is(Mutant::IndexCopiedEarly) {
        copy.index().await?;
        copied.has_index = true;
    }
    let mut pass = Pass::default();
    let table = copy.table_buffer()?;
    let mut first = 0;
    while first < extents {
        let count = RECORDS_AT_ONCE.min(extents - first);
        let words = copy.read_table(&table, first, count).await?;
        let is_open = |word: &&ExtentWord| word.state() == ExtentState::Open;
        pass.open +=
            words.iter().filter(is_open).count() as u64 * source.segment.plan().geometry().extent_len;
        pass.copied +=
            copy.extents(first, &words, copied, |word| word.state() == ExtentState::Sealed).await?;
        first += count;
    }
    Ok(pass)
}

impl<F: Fabric> Copy<'_, F> {
    /// Local memory for a part of the table.
    pub(super) fn table_buffer(&self) -> Result<Buffer, Failure> {
        let extents = self.source.segment.plan().extents();
        Ok(self.fabric.buffers().take(RECORDS_AT_ONCE.min(extents) as usize * ExtentRecord::LEN)?)
    }

    /// Reads a part of the source's table into `buffer`.
    pub(super) async fn read_table(
        &self,
        buffer: &Buffer,
        first: u64,
        count: u64,
    ) -> Result<Vec<ExtentWord>, Failure> {
        let (at, len) = self.source.segment.extent_records(first, count);
        let chain = Chain::new().read(at, buffer.slice(0, len));
        self.meter.post(&self.source.link, chain).await.map_err(Failure::harmless)?;
        Ok(buffer
            .with(|bytes| ExtentRecord::all_in(&bytes[..len]).map(|record| record.extent_word()).collect()))
    }

    /// Copies those of the extents from `first` on, of which `words` are the records, that are wanted and not copied yet.
    /// Returns how many bytes that were.
    pub(super) async fn extents(
        &self,
        first: u64,
        words: &[ExtentWord],
        copied: &mut Copied,
        is_wanted: impl Fn(ExtentWord) -> bool,
    ) -> Result<u64, Failure> {
        let extent_len = self.source.segment.plan().geometry().extent_len;
        let at = |extent: u64| words[(extent - first) as usize];
        let is_missing = |extent: &u64| is_wanted(at(*extent)) && !copied.has(*extent, at(*extent));
        let missing = (first..first + words.len() as u64).filter(is_missing);
        let runs = runs(missing, PIECE / extent_len);
        let (done, copied) = (Cell::new(0), RefCell::new(copied));
        spread(runs.into_iter(), PIECES_AT_ONCE, async |run| {
            self.run(run).await?;
            done.set(done.get() + run.count * extent_len);
            (run.first..run.first + run.count).for_each(|e| copied.borrow_mut().note(e, at(e)));
            Ok::<(), Failure>(())
        })
        .await?;
        Ok(done.get())
    }

    async fn run(&self, run: Run) -> Result<(), Failure> {
        let plan = self.source.segment.plan();
        let (start, len) = (plan.extent_start(run.first).0, run.count * plan.geometry().extent_len);
        let buffer = self.fabric.buffers().take(PIECE.min(len) as usize)?;
        for at in (start..start + len).step_by(PIECE as usize).map(BlockAddr) {
            let len = PIECE.min(start + len - at.0);
            let (from, to) = (self.source.segment.block_bytes(at), self.target.segment.block_bytes(at));
            self.bytes(&buffer, from, to, len as usize).await?;
        }
        Ok(())
    }

    /// Copies every slot of every partition, as it is. Returns how many bytes that were.
    pub(super) async fn index(&self) -> Result<u64, Failure> {
        let geometry = self.source.segment.plan().geometry();
        let at_once = (PIECE / GROUP_LEN).min(geometry.groups);
        let parts = (0..geometry.partitions).flat_map(|partition| {
            (0..geometry.groups).step_by(at_once as usize).map(move |group| (partition, group))
        });
        let done = Cell::new(0);
        spread(parts, PIECES_AT_ONCE, async |(partition, group)| {
            let count = at_once.min(geometry.groups - group);
            let (from, len) = self.source.segment.groups(partition, group, count);
            let (to, _) = self.target.segment.groups(partition, group, count);
            let buffer = self.fabric.buffers().take(len)?;
            self.bytes(&buffer, from, to, len).await?;
            done.set(done.get() + len as u64);
            Ok::<(), Failure>(())
        })
        .await?;
        Ok(done.get())
    }

    /// One piece, through `buffer`.
    async fn bytes(
        &self,
        buffer: &Buffer,
        from: RemoteAddr,
        to: RemoteAddr,
        len: usize,
    ) -> Result<(), Failure> {
        self.pace.wait(self.fabric, len as u64).await;
        let read = Chain::new().read(from, buffer.slice(0, len));
        self.meter.post(&self.source.link, read).await.map_err(Failure::harmless)?;
        let write = Chain::new().write(to, buffer.slice(0, len));
        self.meter.post(&self.target.link, write).await.map_err(Failure::harmless)?;
        self.progress.set(self.progress.get() + len as u64);
        Ok(())
    }
}

/// Joins neighbours of ascending `extents`, at most `most` of them, but at least one, in a run.
fn runs(extents: impl Iterator<Item = u64>, most: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for extent in extents {
        match runs.last_mut() {
            Some(run) if run.first + run.count == extent && run.count < most => run.count += 1,
            _ => runs.push(Run { first: extent, count: 1 }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_copied_together_as_far_as_a_piece_reaches() {
        let run = |first, count| Run { first, count };
        assert_eq!(runs([1, 2, 3, 5, 6, 9].into_iter(), 2), [run(1, 2), run(3, 1), run(5, 2), run(9, 1)]);
        assert_eq!(runs([1, 2].into_iter(), 0), [run(1, 1), run(2, 1)]);
        assert_eq!(runs([].into_iter(), 4), []);
    }
}
