//! The clock of leases.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_BOOTTIME: it runs through a suspend, and is one for all processes of a host. A node's lease, what its control
/// page says of it and how long clients believe it are all counted by it.
pub fn boot_time_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
