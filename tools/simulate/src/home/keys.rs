//! Keys that get into each other's way.

use farrow_layout::{KeyHash, Plan};
use std::sync::OnceLock;

/// Keys by what they share with the first. Eight bytes each, so that an entry is one unit.
pub struct Keys {
    /// The key that most operations are about.
    pub base: Vec<u8>,
    /// The same buckets in the same order, the same fingerprint.
    pub twin: Vec<u8>,
    /// The same buckets in the other order, the same fingerprint.
    pub mirror: Vec<u8>,
    /// The same buckets, another fingerprint.
    pub sibling: Vec<u8>,
    /// The same fingerprint and overflow buckets, but the other main buckets.
    pub neighbour: Vec<u8>,
    /// Others that fill slots.
    pub fillers: Vec<Vec<u8>>,
}

/// The keys for `plan`, which must be the smallest: two groups.
pub fn keys(plan: &Plan) -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let base = name(1);
        let hash = KeyHash::of(&base);
        let [a, b] = plan.candidates(hash);
        let print = hash.fingerprint();
        let find = |fits: &dyn Fn([u64; 2], u8) -> bool| {
            let fits = |key: &Vec<u8>| {
                let hash = KeyHash::of(key);
                fits(plan.candidates(hash).map(|c| c.main), hash.fingerprint())
            };
            (2..).map(name).find(fits).expect("there are endless keys")
        };
        Keys {
            twin: find(&|at, p| at == [a.main, b.main] && p == print),
            mirror: find(&|at, p| at == [b.main, a.main] && p == print),
            sibling: find(&|at, p| at == [a.main, b.main] && p != print),
            neighbour: find(&|at, p| at == [a.main ^ 1, b.main ^ 1] && p == print),
            fillers: (1_000_000..1_000_042).map(name).collect(),
            base,
        }
    })
}

fn name(number: u32) -> Vec<u8> {
    format!("k{number:07}").into_bytes()
}
