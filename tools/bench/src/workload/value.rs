//! Values that prove themselves.
//!
//! The bytes of a value follow from its key, a version chosen by the writer and its length, so a reader that knows
//! only the key can check every byte: the first eight are the version, the rest is a stream that no other key,
//! version or length has. A value that is torn, stale in part, cut or swapped with another key's does not pass.
//!
//! Values shorter than [`VERSION_LEN`] hold the lowest bytes of the version only; they can be checked against a
//! version that is known, not by themselves. From 8 to about 16 bytes the proof is as short as what is left.

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many bytes of a value hold its version.
pub const VERSION_LEN: usize = 8;

const WORD: usize = size_of::<u64>();

/// A value that is not what its key and version say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadValue {
    /// The value is too short to name its version.
    #[error(
        "a value of {value_len} bytes cannot be checked by itself; use values of {VERSION_LEN} bytes or more"
    )]
    TooShort {
        /// How long it is.
        value_len: usize,
    },
    /// Some byte is not what it must be.
    #[error("byte {offset} of a value of {value_len} bytes is wrong for its key and version {version}")]
    WrongByte {
        /// The first such byte.
        offset: usize,
        /// How long the value is.
        value_len: usize,
        /// The version that the value claims, or was asked for.
        version: u64,
    },
}

/// Fills `value` with the bytes for this key, version and the buffer's length.
///
/// # Cost
/// One hash of the key and a multiplication or two per eight bytes; no allocation.
pub fn fill(value: &mut [u8], key: &[u8], version: u64) {
    let version_bytes = version.to_le_bytes();
    let value_len = value.len();
    let Some((head, body)) = value.split_at_mut_checked(VERSION_LEN) else {
        value.copy_from_slice(&version_bytes[..value_len]);
        return;
    };
    head.copy_from_slice(&version_bytes);
    let mut stream = Stream::new(key, version, value_len);
    let (words, tail) = body.as_chunks_mut::<WORD>();
    for word in words {
        *word = stream.next_word();
    }
    let tail_len = tail.len();
    tail.copy_from_slice(&stream.next_word()[..tail_len]);
}

/// Checks every byte of a value that was read under `key` and gives the version it carries.
///
/// # Errors
/// The first byte that is wrong, or that the value is too short to be checked.
pub fn verify(value: &[u8], key: &[u8]) -> Result<u64, BadValue> {
    let Some((head, _)) = value.split_first_chunk::<VERSION_LEN>() else {
        return Err(BadValue::TooShort { value_len: value.len() });
    };
    let version = u64::from_le_bytes(*head);
    verify_version(value, key, version).map(|()| version)
}

/// Checks every byte of a value, of any length, of which the version is known.
///
/// # Errors
/// The first byte that is wrong.
pub fn verify_version(value: &[u8], key: &[u8], version: u64) -> Result<(), BadValue> {
    let value_len = value.len();
    let (head, body) = value.split_at(VERSION_LEN.min(value_len));
    let mut stream = Stream::new(key, version, value_len);
    let (words, tail) = body.as_chunks::<WORD>();
    let wrong = first_difference(head, &version.to_le_bytes())
        .or_else(|| {
            words.iter().enumerate().find_map(|(index, word)| {
                let expected = stream.next_word();
                // The whole word first: the search for the byte is for the rare case.
                if *word == expected { None } else { first_difference(word, &expected) }
                    .map(|offset| VERSION_LEN + index * WORD + offset)
            })
        })
        .or_else(|| {
            first_difference(tail, &stream.next_word()).map(|offset| value_len - tail.len() + offset)
        });
    match wrong {
        None => Ok(()),
        Some(offset) => Err(BadValue::WrongByte { offset, value_len, version }),
    }
}

/// Where `bytes` departs from the beginning of `expected`.
fn first_difference(bytes: &[u8], expected: &[u8]) -> Option<usize> {
    bytes.iter().zip(expected).position(|(byte, wanted)| byte != wanted)
}

/// SplitMix64, seeded by everything that a value stands for.
struct Stream(u64);

impl Stream {
    fn new(key: &[u8], version: u64, value_len: usize) -> Self {
        let value_len = u64::try_from(value_len).expect("a length in memory fits 64 bits");
        Self(xxh3_64_with_seed(key, version ^ value_len.rotate_left(32)))
    }

    fn next_word(&mut self) -> [u8; WORD] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(key: &[u8], version: u64, value_len: usize) -> Vec<u8> {
        let mut value = vec![0; value_len];
        fill(&mut value, key, version);
        value
    }

    #[test]
    fn a_value_of_any_length_proves_itself() {
        for value_len in (0..100).chain([1024, 4099]) {
            let value = value(b"user1", 77, value_len);
            assert_eq!(verify_version(&value, b"user1", 77), Ok(()));
            let expected = if value_len < 8 { Err(BadValue::TooShort { value_len }) } else { Ok(77) };
            assert_eq!(verify(&value, b"user1"), expected);
        }
    }

    #[test]
    fn every_changed_byte_is_found_at_its_place() {
        let whole = value(b"user1", 77, 61);
        for offset in 0..whole.len() {
            let mut changed = whole.clone();
            changed[offset] ^= 0x10;
            let expected = Err(BadValue::WrongByte { offset, value_len: 61, version: 77 });
            assert_eq!(verify_version(&changed, b"user1", 77), expected);
            assert!(verify(&changed, b"user1").is_err(), "byte {offset}");
        }
        for offset in 0..5 {
            let mut changed = value(b"user1", 77, 5);
            changed[offset] ^= 1;
            let expected = Err(BadValue::WrongByte { offset, value_len: 5, version: 77 });
            assert_eq!(verify_version(&changed, b"user1", 77), expected);
        }
    }

    #[test]
    fn torn_cut_and_swapped_values_do_not_pass() {
        let (old, new) = (value(b"user1", 1, 256), value(b"user1", 2, 256));
        for tear in (8..256).step_by(8) {
            let torn = [&new[..tear], &old[tear..]].concat();
            let found = verify(&torn, b"user1").unwrap_err();
            assert!(
                matches!(found, BadValue::WrongByte { offset, .. } if (tear..tear + 8).contains(&offset))
            );
            assert!(verify(&new[..tear + 7], b"user1").is_err());
        }
        assert!(verify(&new, b"user2").is_err());
        assert!(verify(&vec![0; 256], b"user1").is_err());
    }

    #[test]
    fn the_bytes_do_not_change_between_releases() {
        // Or a reader could not check what an earlier release has written.
        assert_eq!(value(b"k", 0x0102, 19)[..8], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(xxhash_rust::xxh3::xxh3_64(&value(b"k", 0x0102, 1000)), 5_677_164_467_060_859_903);
    }
}
