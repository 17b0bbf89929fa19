//! An entry on its way: built in registered memory, written to every member of its home.

use crate::{Failure, Reservation};
use farrow_fabric::{Buffers, Chain, Slice, Slices};
use farrow_layout::{Entry, EntryHeader, KeyHash, Pointer, SegmentPlan, SizeClass, Word, encode_entry};
use std::cell::Cell;

/// A value to be put.
#[derive(Clone, Debug)]
pub enum StagedValue<'a> {
    /// Bytes that are copied into registered memory.
    Bytes(&'a [u8]),
    /// Registered memory of the application, written from where it lies.
    Registered(Slice),
}

impl StagedValue<'_> {
    /// Its length.
    pub fn len(&self) -> usize {
        match self {
            StagedValue::Bytes(bytes) => bytes.len(),
            StagedValue::Registered(slice) => slice.len(),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An entry with its place.
#[derive(Clone, Debug)]
pub struct Staged {
    parts: Slices,
    pointer: Pointer,
    class: SizeClass,
    replaced: Cell<Word>,
    is_posted: Cell<bool>,
}

impl Staged {
    /// Builds the entry of `key` and `value`, to be written to `place`.
    ///
    /// # Errors
    /// Only for want of local memory.
    pub fn build(
        buffers: &Buffers,
        place: &Reservation,
        entry: &Entry,
        key: &[u8],
        value: &StagedValue<'_>,
    ) -> Result<Staged, Failure> {
        let head_len = EntryHeader::LEN + key.len();
        let total = head_len + value.len();
        assert!(total <= place.len, "the reservation fits the entry");
        let mut parts = Slices::new();
        match value {
            StagedValue::Bytes(bytes) => {
                let buffer = buffers.take(total)?;
                buffer.with_mut(|out| {
                    encode_entry(entry, key, bytes, out);
                    out[head_len..total].copy_from_slice(bytes);
                });
                parts.push(buffer.whole());
            }
            StagedValue::Registered(slice) => {
                let buffer = buffers.take(head_len)?;
                slice.with(|bytes| buffer.with_mut(|out| encode_entry(entry, key, bytes, out)));
                parts.push(buffer.whole());
                parts.push(slice.clone());
            }
        }
        let (pointer, class) = (Pointer::from_offset(place.at.0), SizeClass::for_len(total));
        Ok(Staged { parts, pointer, class, replaced: Cell::new(Word::ZERO), is_posted: Cell::new(false) })
    }

    /// The word that this entry's has replaced, once it has: nothing names that word's entry any more.
    pub fn replaced(&self) -> Word {
        self.replaced.get()
    }

    pub(crate) fn note_replaced(&self, word: Word) {
        self.replaced.set(word);
    }

    /// Whether any of its bytes were ever posted: if not, its place is as it was, however its operation ended.
    pub fn is_posted(&self) -> bool {
        self.is_posted.get()
    }

    /// The word that publishes it behind `before`.
    pub fn word_after(&self, before: Word, hash: KeyHash) -> Word {
        before.naming(hash, self.class, self.pointer)
    }

    /// Says in the entry, before any of it is posted, which word its own one is going to replace.
    pub(crate) fn follow(&self, replaced: Word) {
        self.parts[0].with_mut(|head| EntryHeader::set_replaced(head, replaced));
    }

    /// Adds the WRITE of the whole entry to a member's chain.
    pub fn write(&self, chain: Chain, segment: &SegmentPlan) -> Chain {
        self.is_posted.set(true);
        chain.write_gathered(segment.entry(self.pointer), self.parts.clone())
    }

    /// Adds the WRITE of just the word that it replaces: the rest is in place already.
    pub(crate) fn relink(&self, chain: Chain, segment: &SegmentPlan, replaced: Word) -> Chain {
        chain.write_word(segment.entry_replaced(self.pointer), replaced.raw())
    }
}
