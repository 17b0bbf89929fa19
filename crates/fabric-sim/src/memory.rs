//! A node's memory, and who looks on while it is used.

use crate::Touch;
use farrow_fabric::Nanos;
use farrow_layout::{NodeId, RemoteAddr};

/// The memory of one node.
#[derive(Clone, Debug)]
pub struct Memory(Vec<u8>);

impl Memory {
    pub(crate) fn zeroed(len: u64) -> Memory {
        Memory(vec![0; usize::try_from(len).expect("a simulated memory fits this machine")])
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Some of its bytes.
    ///
    /// # Panics
    /// If they are not all there.
    pub fn bytes(&self, at: RemoteAddr, len: usize) -> &[u8] {
        &self.0[at.0 as usize..][..len]
    }

    /// The word at `at`.
    pub fn word(&self, at: RemoteAddr) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().expect("eight bytes"))
    }

    pub(crate) fn set_bytes(&mut self, at: RemoteAddr, bytes: &[u8]) {
        self.0[at.0 as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn set_word(&mut self, at: RemoteAddr, word: u64) {
        self.set_bytes(at, &word.to_le_bytes());
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
