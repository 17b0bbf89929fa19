//! Coming into a cluster: registering, and waiting until it has its first nodes.

use crate::StartError;
use crate::lease::served;
use farrow_control::coordination::{Ask, Denial, Registration, Renewal, Tell};
use farrow_control::map::ClusterMap;
use farrow_fabric::boot_time_ns;
use farrow_layout::{Epoch, NodeId};
use farrow_transport::{CallError, Caller};
use std::thread;
use std::time::Duration;

/// Between two attempts to reach a coordinator.
const PAUSE: Duration = Duration::from_millis(200);

/// For an answer: longer than any lease holds one back.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that is in.
pub(crate) struct Registered {
    pub(crate) node: NodeId,
    pub(crate) map: ClusterMap,
    /// The end of the lease that came with it, in nanoseconds of CLOCK_BOOTTIME.
    pub(crate) lease_until: u64,
    pub(crate) lease: Duration,
}

/// Registers memory that holds nothing, and waits until the cluster has its homes. Waits for a coordinator as long as it takes.
///
/// # Errors
/// A coordinator refused for good.
pub(crate) fn register(caller: &mut Caller, offer: &Registration) -> Result<Registered, StartError> {
    let refused = |why: String| StartError::Refused { why };
    let (node, mut map) = loop {
        match call(caller, &Ask::Register(offer.clone())) {
            Ok(Tell::Registered { node, map }) => break (node, *map),
            Err(Denial::Store(why)) => {
                tracing::warn!(why, "the coordinator cannot take us in; trying again");
                thread::sleep(PAUSE);
            }
            Err(denial) => return Err(refused(denial.to_string())),
            Ok(other) => return Err(refused(format!("an answer that does not fit: {other:?}"))),
        }
    };
    if map.homes.is_empty() {
        tracing::info!(%node, "registered; the cluster waits for more nodes");
    }
    loop {
        let sent = boot_time_ns();
        let known = if map.homes.is_empty() { Epoch(0) } else { map.epoch };
        let renewal = Renewal {
            node,
            incarnation: offer.incarnation,
            epoch: known,
            progress: Vec::new(),
            orphans: Vec::new(),
        };
        match call(caller, &Ask::Renew(renewal)) {
            Ok(Tell::News(news)) => map = news.map.unwrap_or(map),
            Err(Denial::Deposed(_)) => return Err(refused("it was passed over at once".into())),
            Err(denial) => {
                tracing::warn!(%denial, "the coordinator does not answer as it should; trying again");
                thread::sleep(PAUSE);
                continue;
            }
            Ok(other) => return Err(refused(format!("an answer that does not fit: {other:?}"))),
        }
        if let Some(lease) = caller.lease().filter(|_| !map.homes.is_empty()) {
            return Ok(Registered { node, map, lease_until: sent + served(lease), lease });
        }
    }
}

/// An answer, however long it takes to find somebody who gives one.
fn call(caller: &mut Caller, ask: &Ask) -> Result<Tell, Denial> {
    let mut has_complained = false;
    loop {
        match caller.call(ask, PATIENCE) {
            Ok(tell) => return Ok(tell),
            Err(CallError::Denied { denial, .. }) => return Err(denial),
            Err(error) => complain(&error, &mut has_complained),
        }
        thread::sleep(PAUSE);
    }
}

fn complain(error: &CallError, has_complained: &mut bool) {
    if !std::mem::replace(has_complained, true) {
        tracing::warn!(%error, "no coordinator answers; trying until one does");
    }
}
