//! The block table: one record an extent.

use crate::ClientId;
use crate::described::layout;
use zerocopy::{FromBytes, IntoBytes};

impl ExtentRecord {
    /// Bytes of a record in the table.
    pub const LEN: usize = size_of::<ExtentRecord>();

    /// The records in `bytes`, which were read from the table: whole records.
    pub fn all_in(bytes: &[u8]) -> impl Iterator<Item = ExtentRecord> + '_ {
        debug_assert!(bytes.len().is_multiple_of(ExtentRecord::LEN), "whole records were read");
        let records = bytes.chunks_exact(ExtentRecord::LEN);
        records.map(|b| ExtentRecord::read_from_bytes(b).expect("a record's bytes"))
    }

    /// Puts this record into `bytes` of the table, as number `at` of those that lie there.
    ///
    /// # Panics
    /// If it does not lie in `bytes`.
    pub fn put_into(&self, bytes: &mut [u8], at: usize) {
        bytes[at * ExtentRecord::LEN..][..ExtentRecord::LEN].copy_from_slice(self.as_bytes());
    }

    /// Its first word.
    pub fn extent_word(&self) -> ExtentWord {
        ExtentWord::from_raw(self.word)
    }

    /// What all replicas of a home are to say of one extent, of which two of them say `self` and `other`: the record that is
    /// ahead, `self` if none is, and the larger count of dead bytes, which only grows.
    pub fn merged(self, other: ExtentRecord) -> ExtentRecord {
        let ahead = if other.extent_word().is_ahead_of(self.extent_word()) { other } else { self };
        ExtentRecord { word: ahead.word, dead_bytes: self.dead_bytes.max(other.dead_bytes) }
    }
}

layout! {
    /// One extent of a block: who may write it. The table lies in every segment of the home, so that a survivor knows
    /// what a dead client had open.
    pub struct ExtentRecord: 16 bytes {
        /// State 8 | generation 24 | owner 32.
        0 => word: u64, "at the primary: its daemon (store). At a backup: the owner, when it opens and when it seals the extent: WRITE; for an owner that is lost the agent that recovers it. At all: the agent that closed the home", "aligned; one writer at a time";
        /// Bytes of entries that no slot names any more.
        8 => dead_bytes: u64, "any client, in batches: FAA, at the primary", "aligned; atomic; a hint for cleaning";
    }
}

/// What an extent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentState {
    /// Nobody's; all zero bytes or garbage that no slot names.
    Free,
    /// Its owner appends.
    Open,
    /// All operations of its owner have ended; immutable.
    Sealed,
    /// Bytes that are not a record.
    Unknown(u8),
}

/// The first word of an [`ExtentRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentWord(u64);

impl ExtentWord {
    /// An extent that nobody has had yet.
    pub const FREE: ExtentWord = ExtentWord(0);

    /// The word as remote memory holds it.
    pub const fn from_raw(raw: u64) -> ExtentWord {
        ExtentWord(raw)
    }

    /// The eight bytes that go into remote memory.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The next life of the extent: open, for `owner`.
    pub fn opened(self, owner: ClientId) -> ExtentWord {
        ExtentWord::open_as(owner, self.generation() + 1)
    }

    /// An extent that is open for `owner` in a given life (modulo 2^24).
    pub fn open_as(owner: ClientId, generation: u32) -> ExtentWord {
        ExtentWord(1 << 56 | ((generation & 0x00ff_ffff) as u64) << 32 | owner.0 as u64)
    }

    /// The same extent, sealed.
    pub fn sealed(self) -> ExtentWord {
        ExtentWord(self.0 & !(0xff << 56) | 2 << 56)
    }

    /// Free, open or sealed.
    pub fn state(self) -> ExtentState {
        match (self.0 >> 56) as u8 {
            0 => ExtentState::Free,
            1 => ExtentState::Open,
            2 => ExtentState::Sealed,
            other => ExtentState::Unknown(other),
        }
    }

    /// Whether it says more of its extent than `other`, another replica's record of the same extent: a later life, or
    /// sealed where the other is open. What is no record says nothing.
    pub fn is_ahead_of(self, other: ExtentWord) -> bool {
        self.age() > other.age()
    }

    fn age(self) -> (u32, u8) {
        match self.state() {
            ExtentState::Free => (self.generation(), 0),
            ExtentState::Open => (self.generation(), 1),
            ExtentState::Sealed => (self.generation(), 2),
            ExtentState::Unknown(_) => (0, 0),
        }
    }

    /// How often the extent was handed out.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & 0x00ff_ffff
    }

    /// Who may write it (while open) or has written it (once sealed).
    pub fn owner(self) -> ClientId {
        ClientId(self.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_lives() {
        let open = ExtentWord::FREE.opened(ClientId(0xdead_beef));
        assert_eq!(
            (open.state(), open.generation(), open.owner()),
            (ExtentState::Open, 1, ClientId(0xdead_beef))
        );
        let sealed = open.sealed();
        assert_eq!(
            (sealed.state(), sealed.generation(), sealed.owner()),
            (ExtentState::Sealed, 1, ClientId(0xdead_beef))
        );
        assert_eq!(sealed.opened(ClientId(1)).generation(), 2);
        assert_eq!(ExtentWord::from_raw(9 << 56).state(), ExtentState::Unknown(9));
    }

    #[test]
    fn a_record_is_ahead_of_those_of_earlier_lives_and_of_the_same_life_before_it_was_sealed() {
        let open = ExtentWord::FREE.opened(ClientId(1));
        let next = open.sealed().opened(ClientId(2));
        let garbage = ExtentWord::from_raw(9 << 56 | 77 << 32);
        let by_age = [ExtentWord::FREE, open, open.sealed(), next, next.sealed()];
        for (i, later) in by_age.iter().enumerate() {
            for earlier in &by_age[..i] {
                assert!(later.is_ahead_of(*earlier) && !earlier.is_ahead_of(*later));
            }
            assert!(!later.is_ahead_of(*later) && !garbage.is_ahead_of(*later));
        }
        assert!(open.is_ahead_of(garbage));
    }
}
