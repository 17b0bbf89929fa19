//! The entry: what a PUT appends to an extent.

use crate::described::layout;
use crate::{ClientId, POINTER_UNIT, Word};
use std::mem::offset_of;
use zerocopy::{FromBytes, IntoBytes};

/// Entries start at multiples of this, and take whole multiples of it.
pub const ENTRY_ALIGN: usize = POINTER_UNIT as usize;

/// The longest key.
pub const MAX_KEY_LEN: usize = 1024;

layout! {
    /// What a PUT appends: this header, the key, the value; padded to 64 bytes. Nobody reads it before a word names
    /// it, and it never changes afterwards until its block is freed. The checksum (CRC-32C) covers everything from
    /// `key_len` to the last byte of the value.
    pub struct EntryHeader: 48 bytes {
        /// The word that this entry's word replaced; 0 for the first one of a slot.
        0 => replaced: u64, "the PUT's client, before the entry's word: WRITE", "an aligned word; evidence for recovery, not for readers";
        /// CRC-32C of the rest of the header, the key and the value.
        8 => checksum: u32, "the PUT's client, before publication: WRITE", "unreachable until a word names it";
        /// Length of the key, 1 to 1024.
        12 => key_len: u16, "the PUT's client, before publication: WRITE", "checksum";
        /// The application's own flags.
        14 => flags: u16, "the PUT's client, before publication: WRITE", "checksum";
        /// Length of the value.
        16 => value_len: u32, "the PUT's client, before publication: WRITE", "checksum";
        /// The client that wrote it.
        20 => client: u32, "the PUT's client, before publication: WRITE", "checksum";
        /// The client's count of entries: unique with `client`.
        24 => sequence: u64, "the PUT's client, before publication: WRITE", "checksum";
        /// When the entry expires, in milliseconds since 1970; 0 is never.
        32 => expiry_ms: u64, "the PUT's client, before publication: WRITE", "checksum";
        /// Zero.
        40 => reserved: u64, "the PUT's client, before publication: WRITE", "checksum";
    }
}

/// The first byte that the checksum covers.
const COVERED_FROM: usize = 12;
const HEADER_LEN: usize = size_of::<EntryHeader>();

/// Bytes that an entry takes in a block.
pub const fn entry_len(key_len: usize, value_len: usize) -> usize {
    (HEADER_LEN + key_len + value_len).next_multiple_of(ENTRY_ALIGN)
}

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Fewer bytes than a header.
    #[error("entry cut short: {got} bytes where a header takes 48")]
    NoHeader {
        /// Bytes at hand.
        got: usize,
    },
    /// The header's lengths do not fit the bytes that its size class covers.
    #[error("entry's lengths do not fit: key {key_len}, value {value_len}, read {got} bytes")]
    Lengths {
        /// As the header says.
        key_len: u16,
        /// As the header says.
        value_len: u32,
        /// Bytes at hand.
        got: usize,
    },
    /// The bytes are torn, not yet written, reused or corrupt.
    #[error("entry's checksum is {found:08x}, its bytes make {computed:08x}")]
    Checksum {
        /// As the header says.
        found: u32,
        /// As the bytes say.
        computed: u32,
    },
}

/// Facts of an entry that its client chooses; the key and the value come beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who wrote it.
    pub client: ClientId,
    /// The client's count.
    pub sequence: u64,
    /// The application's flags.
    pub flags: u16,
    /// Milliseconds since 1970, or 0.
    pub expiry_ms: u64,
    /// The word that it replaces, where that is known at this time.
    pub replaced: Word,
}

/// Header and key of an entry over `value`, into the first `48 + key.len()` bytes of `out`; returns their length.
///
/// The value itself follows; it may lie in another buffer (zero copy), since the checksum is taken here.
///
/// # Panics
/// If the key is empty or longer than [`MAX_KEY_LEN`], or `out` too short: callers have checked.
pub fn encode_entry(entry: &Entry, key: &[u8], value: &[u8], out: &mut [u8]) -> usize {
    assert!(!key.is_empty() && key.len() <= MAX_KEY_LEN, "key of {} bytes", key.len());
    let mut header = EntryHeader {
        replaced: entry.replaced.raw(),
        checksum: 0,
        key_len: key.len() as u16,
        flags: entry.flags,
        value_len: u32::try_from(value.len()).expect("values are shorter than a block"),
        client: entry.client.0,
        sequence: entry.sequence,
        expiry_ms: entry.expiry_ms,
        reserved: 0,
    };
    header.checksum = checksum(&header, key, value);
    out[..HEADER_LEN].copy_from_slice(header.as_bytes());
    out[HEADER_LEN..HEADER_LEN + key.len()].copy_from_slice(key);
    HEADER_LEN + key.len()
}

fn checksum(header: &EntryHeader, key: &[u8], value: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&header.as_bytes()[COVERED_FROM..]);
    digest.update(key);
    digest.update(value);
    digest.finalize() as u32
}

impl EntryHeader {
    /// Bytes of a header.
    pub const LEN: usize = HEADER_LEN;

    /// Reads a header whose lengths fit into `room` bytes. The checksum is not looked at: see [`EntryHeader::verify`].
    pub fn parse(bytes: &[u8], room: usize) -> Result<EntryHeader, EntryError> {
        let Ok((header, _)) = EntryHeader::read_from_prefix(bytes) else {
            return Err(EntryError::NoHeader { got: bytes.len() });
        };
        let total = HEADER_LEN as u64 + header.key_len as u64 + header.value_len as u64;
        if header.key_len == 0 || header.key_len as usize > MAX_KEY_LEN || total > room as u64 {
            return Err(EntryError::Lengths {
                key_len: header.key_len,
                value_len: header.value_len,
                got: room,
            });
        }
        Ok(header)
    }

    /// Writes into the head of an entry which word its own one replaces. Outside of the checksum.
    pub fn set_replaced(head: &mut [u8], replaced: Word) {
        const AT: usize = offset_of!(EntryHeader, replaced);
        head[AT..AT + 8].copy_from_slice(&replaced.raw().to_le_bytes());
    }

    /// Checks the checksum over the key and the value as read.
    pub fn verify(&self, key: &[u8], value: &[u8]) -> Result<(), EntryError> {
        let computed = checksum(self, key, value);
        if computed != self.checksum {
            return Err(EntryError::Checksum { found: self.checksum, computed });
        }
        Ok(())
    }

    /// Splits the bytes of an entry into header, key and value, all checked.
    pub fn open(bytes: &[u8]) -> Result<(EntryHeader, &[u8], &[u8]), EntryError> {
        let header = Self::parse(bytes, bytes.len())?;
        let key_end = HEADER_LEN + header.key_len as usize;
        let key = &bytes[HEADER_LEN..key_end];
        let value = &bytes[key_end..key_end + header.value_len as usize];
        header.verify(key, value)?;
        Ok((header, key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(key: &[u8], value: &[u8]) -> Vec<u8> {
        let entry =
            Entry { client: ClientId(7), sequence: 9, flags: 3, expiry_ms: 0, replaced: Word::from_raw(5) };
        let mut out = vec![0; entry_len(key.len(), value.len())];
        let n = encode_entry(&entry, key, value, &mut out);
        out[n..n + value.len()].copy_from_slice(value);
        out
    }

    #[test]
    fn an_entry_opens_as_it_was_written() {
        let bytes = sample(b"key", b"value");
        assert_eq!(bytes.len(), 64);
        let (h, k, v) = EntryHeader::open(&bytes).unwrap();
        assert_eq!((k, v), (&b"key"[..], &b"value"[..]));
        assert_eq!((h.client, h.sequence, h.flags, h.replaced), (7, 9, 3, 5));
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let bytes = sample(b"k", b"");
        assert_eq!(EntryHeader::open(&bytes).unwrap().2, b"");
    }

    #[test]
    fn the_replaced_word_is_outside_of_the_checksum() {
        let mut bytes = sample(b"key", b"value");
        bytes[..8].fill(0xee);
        assert!(EntryHeader::open(&bytes).is_ok());
    }

    #[test]
    fn every_flipped_bit_that_matters_is_noticed() {
        let bytes = sample(b"key", b"value");
        for bit in 8 * 8..(48 + 8) * 8 {
            let mut torn = bytes.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(EntryHeader::open(&torn).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = EntryHeader::open(&bytes);
        }

        #[test]
        fn round_trip(key in proptest::collection::vec(any::<u8>(), 1..=1024), value in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let bytes = sample(&key, &value);
            let (_, k, v) = EntryHeader::open(&bytes).unwrap();
            prop_assert_eq!(k, &key[..]);
            prop_assert_eq!(v, &value[..]);
        }
    }
}
