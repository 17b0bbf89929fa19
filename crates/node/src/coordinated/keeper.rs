//! What a node does when its lease is not renewed: it asks its peers, and breaks its links when that does not help either.

use super::peers::Peers;
use crate::daemon::Ending;
use crate::lease::served;
use crate::service::Service;
use farrow_fabric::boot_time_ns;
use std::thread;
use std::time::Duration;

/// Looks after the lease until the daemon ends.
pub(crate) fn keep(service: &Service, ending: &Ending, mut peers: Peers, lease: Duration) {
    let mut had_one = true;
    while !ending.is_told() {
        let now = boot_time_ns();
        let left = service.links().lease_until().saturating_sub(now);
        // Renewals come in every quarter of a lease and are answered as late: half of one may be gone while all is well, and what
        // peers have promised makes a fence take longer.
        if left < served(lease) / 3 && peers.promise(service, lease) {
            service.links().set_lease(now + served(lease));
            if !std::mem::replace(&mut had_one, true) {
                tracing::info!("the peers let this node serve on without a coordinator");
            }
        }
        if boot_time_ns() >= service.links().lease_until() {
            service.links().expire();
            if std::mem::take(&mut had_one) {
                tracing::warn!(
                    "no lease: neither a coordinator nor all of the peers can be reached; not serving"
                );
            }
        } else {
            had_one = true;
        }
        thread::sleep(lease / 16);
    }
}
