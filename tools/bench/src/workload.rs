//! What a load does: which operation, on which key, with which bytes, and when.
//!
//! Everything here is deterministic: the same seed and thread number give the same operations, values and start
//! times in every run of one build. (Another version of the random generator's crate may give others.) Nothing
//! here reads a clock or touches a store.

pub mod arrival;
pub mod key;
pub mod key_choice;
pub mod mix;
pub mod value;
pub mod value_size;

use rand::SeedableRng;
use rand::rngs::SmallRng;

/// What a random stream is for. Streams of one thread must differ, or the size of a value would depend on its key.
#[derive(Clone, Copy)]
enum Purpose {
    Operation = 1,
    Key = 2,
    ValueSize = 3,
    Arrival = 4,
    Loaded = 5,
}

/// The random stream of one thread for one purpose.
fn stream(seed: u64, thread: u32, purpose: Purpose) -> SmallRng {
    let mut bytes = [0; 13];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&thread.to_le_bytes());
    bytes[12] = purpose as u8;
    SmallRng::seed_from_u64(xxhash_rust::xxh3::xxh3_64(&bytes))
}

/// The random stream of one key that is loaded.
fn stream_of_key(seed: u64, key_index: u64) -> SmallRng {
    let mut bytes = [0; 17];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&key_index.to_le_bytes());
    bytes[16] = Purpose::Loaded as u8;
    SmallRng::seed_from_u64(xxhash_rust::xxh3::xxh3_64(&bytes))
}

/// Chi-square of observed counts against expected ones, and the value that a right generator exceeds once in
/// about a thousand seeds (Wilson and Hilferty's approximation).
#[cfg(test)]
fn chi_square(observed: &[u64], expected: &[f64]) -> (f64, f64) {
    assert_eq!(observed.len(), expected.len());
    assert!(expected.iter().all(|&count| count >= 5.0), "cells must expect five or more");
    let statistic = observed.iter().zip(expected).map(|(&o, &e)| (o as f64 - e).powi(2) / e).sum();
    let freedom = (observed.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    let bound = freedom * (1.0 - spread + 3.09 * spread.sqrt()).powi(3);
    (statistic, bound)
}
