//! Clocks that run at rates of their own.

use farrow_fabric::Nanos;

/// A machine's clock: faster or slower than true time by less than one part in 128, so that two of them differ by less than one in
/// 64.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// In parts of 4096.
    skew: i64,
}

/// The largest skew, in parts of 4096.
pub(super) const MOST_SKEW: u64 = 31;

impl Clock {
    /// `drawn` is below `2 * MOST_SKEW + 1`.
    pub(super) fn new(drawn: u64) -> Clock {
        Clock { skew: drawn as i64 - MOST_SKEW as i64 }
    }

    /// What it shows, in nanoseconds.
    pub(super) fn at(&self, now: Nanos) -> u64 {
        (now.0 as i128 * i128::from(4096 + self.skew) / 4096) as u64
    }

    /// The first true time at which it shows `local`.
    pub(super) fn when(&self, local: u64) -> Nanos {
        let rate = i128::from(4096 + self.skew);
        Nanos(((i128::from(local) * 4096 + rate - 1) / rate) as u64)
    }
}
