//! A node's memory as a peer addresses it.

use farrow_control::message::RdmaChunk;

/// The registered chunks of one node's memory, back to back: from offsets to the addresses and keys of its device.
#[derive(Debug)]
pub struct Window {
    chunks: Vec<RdmaChunk>,
    len: u64,
}

/// The chunks that a node announced are not a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node announced memory that does not make sense at byte {at}: {what}; does it run the same version?"
)]
pub struct BadMemory {
    /// Offset into the node's memory.
    pub at: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// A range of remote memory that lies within one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) address: u64,
    pub(crate) key: u32,
    pub(crate) len: u64,
}

impl Window {
    /// Checks that `chunks` cover a memory from 0 without gap, each aligned so that words stay words.
    ///
    /// # Errors
    /// [`BadMemory`]: this is what a peer says, so it is not trusted.
    pub fn new(mut chunks: Vec<RdmaChunk>) -> Result<Window, BadMemory> {
        chunks.sort_by_key(|chunk| chunk.offset);
        let mut len = 0;
        for chunk in &chunks {
            let bad = |what| Err(BadMemory { at: len, what });
            if chunk.offset != len {
                return bad("a gap, or an overlap");
            }
            if chunk.len == 0 {
                return bad("an empty chunk");
            }
            if !chunk.offset.is_multiple_of(8) || !chunk.address.is_multiple_of(8) {
                return bad("a chunk that is not aligned to words");
            }
            let Some(end) = len.checked_add(chunk.len) else { return bad("a chunk that is too long") };
            if chunk.address.checked_add(chunk.len).is_none() {
                return bad("a chunk that is too long");
            }
            len = end;
        }
        if chunks.is_empty() {
            return Err(BadMemory { at: 0, what: "no chunk at all" });
        }
        Ok(Window { chunks, len })
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "an empty memory is refused")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The range of `len` bytes at `at`, cut where chunks end.
    ///
    /// # Panics
    /// If it is not within the memory: callers check.
    pub(crate) fn pieces(&self, at: u64, len: u64) -> impl Iterator<Item = Piece> + '_ {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "{len} bytes at {at} are outside");
        let first = self.chunks.partition_point(|chunk| chunk.offset + chunk.len <= at);
        let (mut at, mut left) = (at, len);
        self.chunks[first..].iter().map_while(move |chunk| {
            if left == 0 {
                return None;
            }
            let within = at - chunk.offset;
            let len = left.min(chunk.len - within);
            at += len;
            left -= len;
            Some(Piece { address: chunk.address + within, key: chunk.key, len })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: u64, len: u64) -> RdmaChunk {
        RdmaChunk { offset, len, address: 0x10_0000 + 0x1000 * offset, key: offset as u32 }
    }

    #[test]
    fn a_range_is_cut_at_the_ends_of_chunks() {
        let window = Window::new(vec![chunk(64, 64), chunk(0, 64), chunk(128, 40)]).expect("sensible");
        assert_eq!(window.len(), 168);
        let pieces = |at, len| -> Vec<(u64, u32, u64)> {
            window.pieces(at, len).map(|p| (p.address, p.key, p.len)).collect()
        };
        assert_eq!(pieces(8, 8), [(0x10_0008, 0, 8)]);
        assert_eq!(pieces(56, 8), [(0x10_0038, 0, 8)]);
        assert_eq!(pieces(64, 8), [(0x14_0000, 64, 8)]);
        assert_eq!(pieces(60, 80), [(0x10_003c, 0, 4), (0x14_0000, 64, 64), (0x18_0000, 128, 12)]);
        assert_eq!(pieces(168, 0), []);
    }

    #[test]
    fn nonsense_is_refused() {
        let at = |chunks: Vec<RdmaChunk>| Window::new(chunks).expect_err("nonsense").at;
        assert_eq!(at(vec![]), 0);
        assert_eq!(at(vec![chunk(8, 8)]), 0);
        assert_eq!(at(vec![chunk(0, 8), chunk(16, 8)]), 8);
        assert_eq!(at(vec![chunk(0, 16), chunk(8, 8)]), 16);
        assert_eq!(at(vec![chunk(0, 0)]), 0);
        assert_eq!(at(vec![chunk(0, 7), RdmaChunk { offset: 7, ..chunk(0, 8) }]), 7);
        assert_eq!(at(vec![RdmaChunk { address: 4, ..chunk(0, 8) }]), 0);
        assert_eq!(at(vec![RdmaChunk { address: u64::MAX - 7, ..chunk(0, 16) }]), 0);
        assert_eq!(at(vec![chunk(0, 8), RdmaChunk { len: u64::MAX, ..chunk(8, 8) }]), 8);
    }
}
