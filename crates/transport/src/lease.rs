//! How long a node may be believed, where its daemon cannot break links itself: RDMA is served by the device, also while the
//! daemon is stopped and others go on without the node.

use farrow_fabric::boot_time_ns;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The end of a node's lease as this process knows it. Thread-safe.
#[derive(Debug)]
pub struct NodeLease {
    /// In nanoseconds of CLOCK_BOOTTIME.
    until: AtomicU64,
}

/// There is no end.
const NEVER: u64 = u64::MAX;

impl NodeLease {
    /// Without an end, until one is heard of.
    pub(crate) fn endless() -> NodeLease {
        NodeLease { until: AtomicU64::new(NEVER) }
    }

    /// The node said that so much was left, in answer to a request that was sent at `sent`.
    pub(crate) fn hear(&self, sent: u64, left: Option<Duration>) {
        let until = left.map_or(NEVER, |left| sent.saturating_add(left.as_nanos() as u64));
        self.until.store(until, Ordering::Release);
    }

    /// Whether what the node's memory says now counts.
    pub(crate) fn runs(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until == NEVER || boot_time_ns() < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_was_heard_of_ends() {
        let lease = NodeLease::endless();
        assert!(lease.runs());
        lease.hear(boot_time_ns(), Some(Duration::from_secs(60)));
        assert!(lease.runs());
        lease.hear(boot_time_ns(), Some(Duration::ZERO));
        assert!(!lease.runs());
        lease.hear(0, None);
        assert!(lease.runs(), "a static cluster has none");
    }
}
