//! A node's memory as its own daemon stores into it.

use farrow_fabric::Mapping;
use farrow_layout::RemoteAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A node's memory as its own daemon stores into it: mapped, or simulated. The daemon reads nothing back that it decides
/// on, for clients can write all of it.
pub trait OwnMemory {
    /// Stores bytes. Others may see them torn between aligned words.
    fn store(&self, at: RemoteAddr, bytes: &[u8]);

    /// Stores an aligned word, behind everything that was stored before.
    fn store_word(&self, at: RemoteAddr, word: u64);
}

impl OwnMemory for Mapping {
    fn store(&self, at: RemoteAddr, bytes: &[u8]) {
        self.copy_in(offset(at), bytes);
    }

    fn store_word(&self, at: RemoteAddr, word: u64) {
        self.word(offset(at)).store(word, Ordering::Release);
    }
}

impl<M: OwnMemory> OwnMemory for Arc<M> {
    fn store(&self, at: RemoteAddr, bytes: &[u8]) {
        (**self).store(at, bytes);
    }

    fn store_word(&self, at: RemoteAddr, word: u64) {
        (**self).store_word(at, word);
    }
}

/// An address as a mapping counts.
pub(crate) fn offset(address: RemoteAddr) -> usize {
    usize::try_from(address.0).expect("what was mapped can be addressed")
}
