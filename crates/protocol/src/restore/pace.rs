//! A cap on the bytes that are copied in a second.

use farrow_fabric::{Fabric, Nanos};
use std::cell::Cell;

/// Time that may be made up for when a sleep ended late: timers are coarse beside the pieces that they part.
const LATE: u64 = 2_000_000;

/// Bytes a second, shared by all copies that are made under it.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    /// When the next copy may begin.
    next: Cell<Nanos>,
}

impl Pace {
    /// At most so many bytes a second; 0 is no cap.
    pub fn of(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second, next: Cell::new(Nanos(0)) }
    }

    /// As fast as it goes.
    pub fn none() -> Pace {
        Pace::of(0)
    }

    /// Waits until `bytes` more may be copied. Time that nobody used is not made up for, but for two milliseconds.
    pub async fn wait<F: Fabric>(&self, fabric: &F, bytes: u64) {
        if self.bytes_per_second == 0 {
            return;
        }
        let begin = self.next.get().max(Nanos(fabric.now().0.saturating_sub(LATE)));
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.next.set(Nanos(begin.0.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX))));
        if begin > fabric.now() {
            fabric.sleep_until(begin).await;
        }
    }
}
