//! Renewing the lease, and hearing what is new.

use crate::agent::Tasks;
use crate::daemon::{Asked, Ending};
use crate::lease::{renewal_epoch, served};
use crate::service::Service;
use farrow_control::coordination::{Ask, Denial, Renewal, Tell};
use farrow_daemon::Cause;
use farrow_fabric::boot_time_ns;
use farrow_transport::{CallError, Caller};
use std::thread;
use std::time::Duration;

/// Renews until the daemon ends, or ends it: when the node was passed over.
pub(crate) fn beat(service: &Service, tasks: &Tasks, ending: &Ending, caller: &mut Caller, lease: Duration) {
    // News that repeats itself must not keep us busy.
    let shortest = lease / 32;
    let mut is_reached = true;
    while !ending.is_told() {
        let sent = boot_time_ns();
        let renewal = Renewal {
            node: service.node(),
            incarnation: service.incarnation(),
            epoch: renewal_epoch(
                service.latest().epoch,
                service.links().lease_until().saturating_sub(sent),
                lease,
            ),
            progress: tasks.progress(),
            orphans: service.orphans(),
        };
        match caller.call(&Ask::Renew(renewal), lease / 2) {
            Ok(Tell::News(news)) => {
                service.links().set_lease(sent + served(lease));
                if !std::mem::replace(&mut is_reached, true) {
                    tracing::info!("a coordinator answers again");
                }
                if let Some(map) = news.map
                    && let Err(refusal) = service.adopt(map)
                {
                    tracing::error!(%refusal, "the coordinator's map cannot be used");
                }
                tasks.set(news.orders);
            }
            Err(CallError::Denied { denial: Denial::Deposed(node), .. }) => {
                tracing::warn!(%node, "the cluster goes on without this node; what its memory holds is given up");
                return ending.tell(Cause::Asked(Asked::Deposed));
            }
            Ok(other) => {
                if std::mem::take(&mut is_reached) {
                    tracing::warn!(answer = ?other, "the coordinator does not renew the lease");
                }
            }
            Err(error) => {
                if std::mem::take(&mut is_reached) {
                    tracing::warn!(%error, "no coordinator answers; asking the peers");
                }
            }
        }
        let took = Duration::from_nanos(boot_time_ns() - sent);
        thread::sleep(shortest.saturating_sub(took));
    }
}
