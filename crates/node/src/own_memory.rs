//! A node's memory as its own daemon stores into it.

use farrow_fabric::Mapping;
use farrow_layout::RemoteAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A node's memory as its own daemon stores into it: mapped, or simulated. Clients can write all of it, so the daemon reads back
/// only what it has no other way to know: the extents of a home that it takes over.
pub trait OwnMemory {
    /// Stores bytes. Others may see them torn between aligned words.
    fn store(&self, at: RemoteAddr, bytes: &[u8]);

    /// Stores an aligned word, behind everything that was stored before.
    fn store_word(&self, at: RemoteAddr, word: u64);

    /// An aligned word, as it is now.
    fn load_word(&self, at: RemoteAddr) -> u64;
}

impl OwnMemory for Mapping {
    fn store(&self, at: RemoteAddr, bytes: &[u8]) {
        self.copy_in(offset(at), bytes);
    }

    fn store_word(&self, at: RemoteAddr, word: u64) {
        self.word(offset(at)).store(word, Ordering::Release);
    }

    fn load_word(&self, at: RemoteAddr) -> u64 {
        self.word(offset(at)).load(Ordering::Acquire)
    }
}

impl<M: OwnMemory> OwnMemory for Arc<M> {
    fn store(&self, at: RemoteAddr, bytes: &[u8]) {
        (**self).store(at, bytes);
    }

    fn store_word(&self, at: RemoteAddr, word: u64) {
        (**self).store_word(at, word);
    }

    fn load_word(&self, at: RemoteAddr) -> u64 {
        (**self).load_word(at)
    }
}

/// An address as a mapping counts.
pub(crate) fn offset(address: RemoteAddr) -> usize {
    usize::try_from(address.0).expect("what was mapped can be addressed")
}
