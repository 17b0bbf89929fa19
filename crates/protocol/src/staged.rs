//! An entry on its way: built in registered memory, written to every member of its home.

use crate::{Failure, Reservation};
use farrow_fabric::{Buffers, Chain, Slice, Slices};
use farrow_layout::{Entry, EntryHeader, KeyHash, Pointer, SegmentPlan, SizeClass, Word, encode_entry};

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
        Ok(Staged { parts, pointer: Pointer::from_offset(place.at.0), class: SizeClass::for_len(total) })
    }

    /// The word that publishes it behind `before`.
    pub fn word_after(&self, before: Word, hash: KeyHash) -> Word {
        before.naming(hash, self.class, self.pointer)
    }

    /// Adds the WRITE of the whole entry to a member's chain.
    pub fn write(&self, chain: Chain, segment: &SegmentPlan) -> Chain {
        chain.write_gathered(segment.entry(self.pointer), self.parts.clone())
    }

    /// Adds the WRITE of just the word that it replaces: the rest is in place already.
    pub(crate) fn relink(&self, chain: Chain, segment: &SegmentPlan, replaced: Word) -> Chain {
        chain.write_word(segment.entry(self.pointer), replaced.raw())
    }
}
