//! Time, as whoever drives a coordinator tells it.

use std::ops::Add;

/// Nanoseconds of CLOCK_BOOTTIME, or of a simulated clock: only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Nanoseconds since `earlier`; 0 if that is not past.
    pub fn since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Instant {
    type Output = Instant;

    fn add(self, ns: u64) -> Instant {
        Instant(self.0.saturating_add(ns))
    }
}
