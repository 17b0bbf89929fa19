//! One clock for all processes of a host.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the host's monotonic clock: the same in every process.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
