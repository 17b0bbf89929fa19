//! The bytes of a key, from its number.

/// Bytes of every key. Beside a header of 48 bytes and a value of 64 an entry is then two units of 64 bytes.
pub const KEY_LEN: usize = 16;

/// Numbers below this have keys of their own: the digits are twelve.
pub const MAX_KEYS: u64 = 1 << 48;

/// A key.
pub type Key = [u8; KEY_LEN];

/// The key with this number: `user` and twelve hexadecimal digits.
///
/// # Panics
/// If the number is not below [`MAX_KEYS`].
pub fn key_of(key_index: u64) -> Key {
    assert!(key_index < MAX_KEYS, "there is no key with the number {key_index}");
    let mut key = *b"user000000000000";
    let mut rest = key_index;
    for digit in key[4..].iter_mut().rev() {
        *digit = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_text_of_one_length() {
        assert_eq!(&key_of(0), b"user000000000000");
        assert_eq!(&key_of(0x12ab), b"user0000000012ab");
        assert_eq!(&key_of(MAX_KEYS - 1), b"userffffffffffff");
    }

    #[test]
    fn every_number_has_a_key_of_its_own() {
        let around = |bit: u32| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1];
        let numbers: BTreeSet<u64> = (0..70_000).chain((17..48).flat_map(around)).collect();
        let keys: BTreeSet<Key> = numbers.iter().map(|n| key_of(*n)).collect();
        assert_eq!(keys.len(), numbers.len());
    }
}
