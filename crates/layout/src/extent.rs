//! The block table: one record an extent.

use crate::ClientId;
use crate::described::layout;

layout! {
    /// One extent of a block: who may write it. The table lies in every segment of the home, so that a survivor knows
    /// what a dead client had open.
    pub struct ExtentRecord: 16 bytes {
        /// State 8 | generation 24 | owner 32.
        0 => word: u64, "at the primary: its daemon (store). At a backup: the owner, when it opens and when it seals the extent: WRITE", "aligned; one writer at a time";
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
}
