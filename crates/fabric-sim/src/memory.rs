//! A node's memory, and who looks on while it is used.

use crate::Touch;
use farrow_fabric::Nanos;
use farrow_layout::{NodeId, RemoteAddr};
use std::cell::RefCell;

/// The memory of one node.
#[derive(Clone, Debug)]
pub struct Memory {
    bytes: Vec<u8>,
    /// A bit for each block that was ever written: the others are zero.
    written: Vec<u64>,
}

/// Bytes that one bit stands for.
const BLOCK: usize = 256;
/// Larger memories are not kept for other worlds.
const MOST_KEPT: usize = 1 << 20;
/// More than any search has at a time.
const MOST_MEMORIES: usize = 16;

thread_local! {
    /// Memories of worlds that are gone: to zero what was written is quicker than to have the system find new ones.
    static KEPT: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
}

impl Memory {
    pub(crate) fn zeroed(len: u64) -> Memory {
        let len = usize::try_from(len).expect("a simulated memory fits this machine");
        let kept = KEPT.with_borrow_mut(|kept| {
            let index = kept.iter().rposition(|memory| memory.bytes.len() == len)?;
            Some(kept.swap_remove(index))
        });
        let blocks = len.div_ceil(BLOCK);
        let new = || Memory { bytes: vec![0; len], written: vec![0; blocks.div_ceil(64)] };
        let mut memory = kept.unwrap_or_else(new);
        memory.clear();
        memory
    }

    /// Leaves it to the next world of this thread.
    pub(crate) fn keep(&mut self) {
        let memory =
            Memory { bytes: std::mem::take(&mut self.bytes), written: std::mem::take(&mut self.written) };
        // A thread that ends may have lost what it kept already.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if memory.bytes.len() <= MOST_KEPT && kept.len() < MOST_MEMORIES {
                kept.push(memory);
            }
        });
    }

    fn clear(&mut self) {
        for (index, bits) in self.written.iter_mut().enumerate() {
            while *bits != 0 {
                let start = (index * 64 + bits.trailing_zeros() as usize) * BLOCK;
                let end = self.bytes.len().min(start + BLOCK);
                self.bytes[start..end].fill(0);
                *bits &= *bits - 1;
            }
        }
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Some of its bytes.
    ///
    /// # Panics
    /// If they are not all there.
    pub fn bytes(&self, at: RemoteAddr, len: usize) -> &[u8] {
        &self.bytes[at.0 as usize..][..len]
    }

    /// The word at `at`.
    pub fn word(&self, at: RemoteAddr) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().expect("eight bytes"))
    }

    /// Whether that changed any.
    pub(crate) fn set_bytes(&mut self, at: RemoteAddr, bytes: &[u8]) -> bool {
        let start = at.0 as usize;
        for block in start / BLOCK..(start + bytes.len()).div_ceil(BLOCK) {
            self.written[block / 64] |= 1 << (block % 64);
        }
        let here = &mut self.bytes[start..][..bytes.len()];
        let is_change = *here != *bytes;
        here.copy_from_slice(bytes);
        is_change
    }

    pub(crate) fn set_word(&mut self, at: RemoteAddr, word: u64) -> bool {
        self.set_bytes(at, &word.to_le_bytes())
    }
}

/// One piece of one verb, as it has just been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// When.
    pub now: Nanos,
    /// Whose: the number of the fabric.
    pub client: usize,
    /// Where.
    pub node: NodeId,
    /// First byte of the piece.
    pub at: RemoteAddr,
    /// What.
    pub kind: AccessKind,
}

/// What a piece of a verb did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// A READ of `len` bytes, or of a whole word.
    Read {
        /// Bytes.
        len: usize,
    },
    /// A WRITE of `len` bytes, or of a whole word.
    Write {
        /// Bytes.
        len: usize,
    },
    /// A CAS that found what it expected.
    Swapped {
        /// What was there.
        old: u64,
        /// What is there now.
        new: u64,
    },
    /// A CAS that did not.
    NotSwapped {
        /// What it expected.
        expected: u64,
        /// What was there, and still is.
        old: u64,
    },
    /// An FAA.
    Added {
        /// What was there.
        old: u64,
        /// What is there now.
        new: u64,
    },
}

/// Looks on: a shadow memory, an invariant. It panics when it sees what must not be.
pub trait Observer {
    /// Called after every piece of every verb, with the memory as it is then.
    fn on_access(&mut self, access: &Access, memory: &Memory);

    /// What the last call looked at besides what was accessed: a search must not take it for independent of writes there.
    fn looked_at(&self) -> &[Touch] {
        &[]
    }
}
