//! What this machine's memory allows.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Far beyond any cache.
const BYTES: usize = 256 << 20;
/// The first touches its pages and does not count.
const ROUNDS: usize = 6;

/// Bytes a second that one thread copies from one resident buffer to another: the median of five rounds.
pub fn memcpy_rate() -> f64 {
    let (source, mut target) = (vec![1u8; BYTES], vec![0u8; BYTES]);
    let mut took: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            black_box(&mut target).copy_from_slice(black_box(&source));
            begin.elapsed()
        })
        .skip(1)
        .collect();
    took.sort_unstable();
    BYTES as f64 / took[took.len() / 2].as_secs_f64()
}
