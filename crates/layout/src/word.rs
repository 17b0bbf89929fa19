//! The word of a slot: eight bytes, changed by CAS only.

use crate::{KeyHash, SizeClass};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes that one step of a [`Pointer`] stands for.
pub const POINTER_UNIT: u64 = 64;

/// The head of `docs/layout.md`.
pub(crate) const WORD_DOC: &str = "## Word (8 bytes)\n\n\
    `fingerprint 8 | size class 8 | version 8 | tentative 1 | guarded 1 | pointer 38`, from the most significant bit down. The version \
    grows by one (modulo 256) with every change of the slot. A tentative word is an insert into a recycled slot that its \
    client has not confirmed yet: readers pass it over. A guarded word was put on a condition about the word before it: \
    a writer that lost to it may not claim to have been there in between. Size class 0 says that the slot is empty: a slot that never held anything \
    is all zero, an emptied one keeps the rest of the word that it lost as a nonce, so that no word recurs within the \
    quarantine.\n\n";

/// Where an entry lies: units of 64 bytes from the start of the block area of its home's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pointer(u64);

impl Pointer {
    /// The largest pointer that fits a word: 16 TiB of blocks a home.
    pub const MAX: Pointer = Pointer((1 << 38) - 1);

    /// A pointer to `offset` bytes into the block area.
    ///
    /// # Panics
    /// If `offset` is not a multiple of 64 or does not fit 38 bits of units: our own arithmetic went wrong.
    pub fn from_offset(offset: u64) -> Pointer {
        assert!(offset.is_multiple_of(POINTER_UNIT), "entry offset {offset} is not aligned");
        let units = offset / POINTER_UNIT;
        assert!(units <= Self::MAX.0, "entry offset {offset} does not fit a word");
        Pointer(units)
    }

    /// Bytes from the start of the block area.
    pub fn offset(self) -> u64 {
        self.0 * POINTER_UNIT
    }
}

/// A slot's version, modulo 256: compares only between words that lie less than a lease apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Version(pub u8);

impl Version {
    /// The next version.
    pub fn next(self) -> Version {
        Version(self.0.wrapping_add(1))
    }

    /// Whether `self` is newer than `other`, in the half-circle sense.
    pub fn is_newer_than(self, other: Version) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        ahead != 0 && ahead < 128
    }

    /// Steps from `other` up to `self`, modulo 256.
    pub fn steps_from(self, other: Version) -> u8 {
        self.0.wrapping_sub(other.0)
    }
}

const TENTATIVE: u64 = 1 << 39;
const GUARDED: u64 = 1 << 38;

/// A slot's value. See the module's document for the packing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Word(u64);

impl Word {
    /// A slot that never held anything.
    pub const ZERO: Word = Word(0);

    /// The word as remote memory holds it.
    pub const fn from_raw(raw: u64) -> Word {
        Word(raw)
    }

    /// The eight bytes that go into remote memory.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The word that follows `self` in its slot and names an entry.
    pub fn naming(self, hash: KeyHash, class: SizeClass, pointer: Pointer) -> Word {
        Self::pack(hash.fingerprint(), class.code(), self.version().next(), pointer)
    }

    /// The word that follows `self` in its slot and says that the slot is empty.
    pub fn emptied(self) -> Word {
        Self::pack(self.fingerprint(), 0, self.version().next(), self.pointer())
    }

    /// The invisible form of a word that [`Word::naming`] made; [`Word::confirmed`] follows it.
    pub fn tentative(self) -> Word {
        Word(self.0 | TENTATIVE)
    }

    /// The word that follows a tentative one: the same entry, visible.
    pub fn confirmed(self) -> Word {
        assert!(self.is_tentative(), "only a tentative word is confirmed");
        let visible =
            Self::pack(self.fingerprint(), self.class_code(), self.version().next(), self.pointer());
        Word(visible.0 | self.0 & GUARDED)
    }

    /// `self`, put on a condition about the word before it.
    pub fn guarded(self) -> Word {
        Word(self.0 | GUARDED)
    }

    /// Whether the word was put on a condition about the one before it.
    pub fn is_guarded(self) -> bool {
        self.0 & GUARDED != 0
    }

    /// Whether this is an insert that its client has not confirmed.
    pub fn is_tentative(self) -> bool {
        self.0 & TENTATIVE != 0
    }

    /// Whether the word names an entry that readers may see.
    pub fn is_visible(self) -> bool {
        !self.is_empty() && !self.is_tentative()
    }

    fn pack(fingerprint: u8, class: u8, version: Version, pointer: Pointer) -> Word {
        Word((fingerprint as u64) << 56 | (class as u64) << 48 | (version.0 as u64) << 40 | pointer.0)
    }

    /// Whether the slot names no entry.
    pub fn is_empty(self) -> bool {
        self.class_code() == 0
    }

    /// Eight bits of the key's hash.
    pub fn fingerprint(self) -> u8 {
        (self.0 >> 56) as u8
    }

    fn class_code(self) -> u8 {
        (self.0 >> 48) as u8
    }

    /// How many bytes to READ for the entry; `None` when the slot is empty.
    pub fn class(self) -> Option<SizeClass> {
        SizeClass::from_code(self.class_code())
    }

    /// How often the slot changed, modulo 256.
    pub fn version(self) -> Version {
        Version((self.0 >> 40) as u8)
    }

    /// Where the entry lies (of an empty slot: where the last one lay).
    pub fn pointer(self) -> Pointer {
        Pointer(self.0 & Pointer::MAX.0)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("never-used");
        }
        let guard = if self.is_guarded() { "!" } else { "" };
        let state = match (self.is_empty(), self.is_tentative()) {
            (true, _) => "empty",
            (false, true) => "tentative",
            (false, false) => "fp",
        };
        write!(
            f,
            "{state}{guard}:{:02x} class:{} v{} @{:#x}",
            self.fingerprint(),
            self.class_code(),
            self.version().0,
            self.pointer().offset()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_emptied_slot_keeps_a_nonce() {
        let w = Word::ZERO.naming(KeyHash::of(b"k"), SizeClass::for_len(100), Pointer::from_offset(640));
        let gone = w.emptied();
        assert!(gone.is_empty());
        assert_ne!(gone, Word::ZERO);
        assert_eq!(gone.pointer(), w.pointer());
        assert_eq!(gone.version(), w.version().next());
    }

    #[test]
    fn confirming_changes_the_word_and_keeps_the_entry() {
        let w = Word::ZERO.naming(KeyHash::of(b"k"), SizeClass::for_len(100), Pointer::MAX).tentative();
        assert!(w.is_tentative() && !w.is_visible() && !w.is_empty());
        let c = w.confirmed();
        assert!(c.is_visible());
        assert_eq!(c.pointer(), Pointer::MAX);
        assert_eq!(c.version(), w.version().next());
        assert!(!w.emptied().is_tentative());
    }

    #[test]
    fn versions_compare_around_the_wrap() {
        assert!(Version(0).is_newer_than(Version(255)));
        assert!(!Version(255).is_newer_than(Version(0)));
        assert!(!Version(7).is_newer_than(Version(7)));
    }

    #[test]
    #[should_panic(expected = "not aligned")]
    fn a_pointer_refuses_an_unaligned_offset() {
        let _ = Pointer::from_offset(65);
    }

    proptest! {
        #[test]
        fn packing_round_trips(seed: u128, len in 1usize..1_000_000, units in 0u64..(1 << 38), start: u64) {
            let hash = KeyHash::from_raw(seed);
            let class = SizeClass::for_len(len);
            let before = Word::from_raw(start);
            let w = before.naming(hash, class, Pointer(units));
            prop_assert_eq!(w.fingerprint(), hash.fingerprint());
            prop_assert_eq!(w.class(), Some(class));
            prop_assert_eq!(w.version(), before.version().next());
            prop_assert_eq!(w.pointer(), Pointer(units));
            prop_assert_ne!(w, before);
        }
    }
}
