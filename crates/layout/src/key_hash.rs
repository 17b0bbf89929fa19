//! The hash of a key, and what is drawn from it.

use xxhash_rust::xxh3::xxh3_128;

/// A key's hash (XXH3-128). Partition, buckets and fingerprint come from disjoint bits of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(u128);

impl KeyHash {
    /// The hash of `key`.
    pub fn of(key: &[u8]) -> KeyHash {
        KeyHash(xxh3_128(key))
    }

    /// A hash made of given bits, for tests.
    pub const fn from_raw(raw: u128) -> KeyHash {
        KeyHash(raw)
    }

    /// All bits: what a cache uses as its key.
    pub const fn raw(self) -> u128 {
        self.0
    }

    /// Eight bits for the word.
    pub fn fingerprint(self) -> u8 {
        (self.0 >> 120) as u8
    }

    /// Which of `count` partitions.
    pub fn partition(self, count: u32) -> u32 {
        scale((self.0 >> 88) as u32, count as u64) as u32
    }

    /// The two bucket indices in a table of `count`; they lie in different groups when there are two groups.
    pub fn buckets(self, count: u64) -> [u64; 2] {
        let first = scale(self.0 as u32, count);
        let other = scale((self.0 >> 32) as u32, count);
        // Buckets 2g and 2g+1 share an overflow bucket: two candidates in one group would see it twice.
        let second = if other / 2 == first / 2 { (other + 2) % count } else { other };
        [first, second]
    }
}

/// Spreads 32 random bits over `0..count` (for `count` up to 2^32).
fn scale(bits: u32, count: u64) -> u64 {
    ((bits as u128 * count as u128) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(KeyHash::of(b"").raw(), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
    }

    #[test]
    fn candidates_lie_in_different_groups() {
        for i in 0..20_000u32 {
            let [a, b] = KeyHash::of(&i.to_le_bytes()).buckets(64);
            assert!(a < 64 && b < 64);
            assert_ne!(a / 2, b / 2);
        }
    }

    #[test]
    fn partitions_and_fingerprints_are_even() {
        let mut parts = [0u32; 10];
        let mut prints = [0u32; 256];
        for i in 0..100_000u32 {
            let h = KeyHash::of(&i.to_le_bytes());
            parts[h.partition(10) as usize] += 1;
            prints[h.fingerprint() as usize] += 1;
        }
        assert!(parts.iter().all(|&n| (9_500..10_500).contains(&n)), "{parts:?}");
        assert!(prints.iter().all(|&n| (300..490).contains(&n)), "{prints:?}");
    }
}
