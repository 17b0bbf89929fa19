//! What the bytes of an extent are to be on all members, pure.

use farrow_layout::{ENTRY_ALIGN, EntryHeader, entry_len};

/// What all members are to hold where a client appended that is gone.
pub(super) struct Merged {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// To the end of the last unit that is not zero; a multiple of [`ENTRY_ALIGN`].
    pub(super) used: usize,
}

/// Merges the members' copies of the same bytes, the primary's first.
///
/// An entry that is whole on several of them is taken from the first of those: so a copy that has rotted, at the primary too, is
/// not spread. Where nobody has a whole entry, no slot names one, and the primary's bytes serve.
pub(super) fn merge(copies: &[Vec<u8>]) -> Merged {
    let mut bytes = copies[0].clone();
    let len = bytes.len();
    let mut at = 0;
    while at < len {
        let whole = copies.iter().find_map(|copy| {
            let (_, key, value) = EntryHeader::open(&copy[at..]).ok()?;
            Some((copy, entry_len(key.len(), value.len())))
        });
        let Some((copy, entry)) = whole else {
            at += ENTRY_ALIGN;
            continue;
        };
        let end = len.min(at + entry);
        bytes[at..end].copy_from_slice(&copy[at..end]);
        at = end;
    }
    let is_used = |unit: &[u8]| unit.iter().any(|byte| *byte != 0);
    let used = bytes.chunks(ENTRY_ALIGN).rposition(is_used).map_or(0, |last| (last + 1) * ENTRY_ALIGN);
    Merged { bytes, used: used.min(len) }
}

/// The range in which two copies differ, in whole units; `None` if they do not.
pub(super) fn differing(a: &[u8], b: &[u8]) -> Option<std::ops::Range<usize>> {
    let units = || a.chunks(ENTRY_ALIGN).zip(b.chunks(ENTRY_ALIGN));
    let first = units().position(|(a, b)| a != b)?;
    let last = units().rposition(|(a, b)| a != b).expect("one differs");
    Some(first * ENTRY_ALIGN..((last + 1) * ENTRY_ALIGN).min(a.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::{ClientId, Entry, Word, encode_entry};

    const LEN: usize = 1024;

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        let entry = Entry { client: ClientId(1), sequence: 0, flags: 0, expiry_ms: 0, replaced: Word::ZERO };
        let head = encode_entry(&entry, b"key", value, &mut bytes[at..]);
        bytes[at + head..][..value.len()].copy_from_slice(value);
    }

    #[test]
    fn entries_are_taken_from_whoever_has_them_whole() {
        let mut expected = vec![0; LEN];
        put(&mut expected, 0, &[1; 100]);
        put(&mut expected, 192, b"x");
        put(&mut expected, 448, b"behind a gap");
        let mut copies = vec![expected.clone(), expected.clone(), vec![0; LEN]];
        copies[0][70] ^= 1;
        copies[1][448..].fill(0);
        let merged = merge(&copies);
        assert!(merged.bytes == expected, "the rotten copy is not spread");
        assert_eq!(merged.used, 512);
    }

    #[test]
    fn where_nobody_has_an_entry_the_primarys_bytes_serve() {
        let mut copies = vec![vec![0; LEN]; 2];
        copies[0][130] = 7;
        copies[1][500] = 8;
        let merged = merge(&copies);
        assert!(merged.bytes == copies[0]);
        assert_eq!(merged.used, 192);
        assert_eq!(merge(&[vec![0; LEN]]).used, 0);
    }

    #[test]
    fn only_what_differs_is_written() {
        let (a, mut b) = (vec![0; 256], vec![0; 256]);
        assert_eq!(differing(&a, &b), None);
        b[100] = 1;
        assert_eq!(differing(&a, &b), Some(64..128));
        b[250] = 1;
        assert_eq!(differing(&a, &b), Some(64..256));
    }
}
