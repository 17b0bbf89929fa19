//! Keys that get into each other's way.

use farrow_control::map::ClusterMap;
use farrow_layout::KeyHash;

/// Bytes of each key.
pub(super) const LEN: usize = 8;

/// What a key shares with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// Nothing.
    None,
    /// Home and partition.
    Partition,
    /// Home, partition and both buckets.
    Buckets,
    /// Home, partition and fingerprint.
    Fingerprint,
}

impl Likeness {
    pub(super) const ALL: [Likeness; 4] =
        [Likeness::None, Likeness::Partition, Likeness::Buckets, Likeness::Fingerprint];
}

/// Names to look at before giving up: enough for a fingerprint in the largest cluster of any scenario.
const TRIES: u32 = 100_000;

pub(super) fn name(number: u32) -> Vec<u8> {
    format!("k{number:07}").into_bytes()
}

/// The first key from number `from` on that is like `key`, but another.
pub(super) fn like(map: &ClusterMap, key: &[u8], likeness: Likeness, from: u32) -> Option<Vec<u8>> {
    let plan = map.plan().expect("a map that can be laid out");
    let buckets = |hash| {
        let mut mains = plan.candidates(hash).map(|c| c.main);
        mains.sort_unstable();
        mains
    };
    let of = KeyHash::of(key);
    let fits = |other: &Vec<u8>| {
        let hash = KeyHash::of(other);
        let same = map.route(hash) == map.route(of);
        other != key
            && match likeness {
                Likeness::None => true,
                Likeness::Partition => same,
                Likeness::Buckets => same && buckets(hash) == buckets(of),
                Likeness::Fingerprint => same && hash.fingerprint() == of.fingerprint(),
            }
    };
    (from..from + TRIES).map(name).find(fits)
}

/// `count` keys of `key`'s partition.
pub(super) fn crowd(map: &ClusterMap, key: &[u8], count: usize) -> Vec<Vec<u8>> {
    let route = map.route(KeyHash::of(key));
    let names = (1_000_000..).map(name);
    names.filter(|other| map.route(KeyHash::of(other)) == route).take(count).collect()
}
