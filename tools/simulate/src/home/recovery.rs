//! A client that is lost: evicted at every node, and what it has left put in order.

use super::coordinator::{ClientViews, Coordinator, rpc, wrong};
use farrow_fabric::Meter;
use farrow_fabric_sim::{SimFabric, TaskId};
use farrow_layout::ClientId;
use farrow_protocol::mutant::{self, Mutant};
use farrow_protocol::recover::OpenGrant;
use farrow_protocol::recover_client;
use std::rc::Rc;

/// A client that has stopped.
#[derive(Clone)]
pub struct Lost {
    pub id: u32,
    pub views: Rc<ClientViews>,
}

/// The recovery of a client, going on or over.
pub struct Recovery {
    pub(super) task: TaskId,
    lost: Lost,
}

impl Recovery {
    pub fn begin(coordinator: &Coordinator, lost: Lost) -> Recovery {
        let world = coordinator.world();
        let fabric = world.fabric(4 << 20);
        coordinator.may_take_back(&fabric);
        let (coordinator, of) = (coordinator.clone(), lost.clone());
        let agent = fabric.clone();
        let task = world.spawn(&fabric, async move { run(&coordinator, &agent, &of).await });
        Recovery { task, lost }
    }

    /// Its agent stops where it is, and another begins.
    pub fn begin_anew(self, coordinator: &Coordinator) -> Recovery {
        if coordinator.world().has_ended(self.task) {
            return self;
        }
        coordinator.world().stop(self.task);
        Recovery::begin(coordinator, self.lost)
    }

    pub fn client(&self) -> u32 {
        self.lost.id
    }
}

async fn run(coordinator: &Coordinator, fabric: &SimFabric, lost: &Lost) {
    let world = coordinator.world();
    // The client's only extent, as the cluster has shared them out.
    let (extent, client) = (u64::from(lost.id - 1), ClientId(lost.id));
    loop {
        let epoch = coordinator.opened().await;
        for node in coordinator.nodes() {
            rpc(fabric).await;
            if !mutant::is(Mutant::RecoveredUnevicted) {
                lost.views.links_to(node).into_iter().for_each(|link| world.revoke_link(link));
            }
        }
        if !coordinator.is_open_in(epoch) {
            continue;
        }
        let home = coordinator.home(fabric, &coordinator.nodes());
        let grants = [OpenGrant { first: extent, count: 1 }];
        let recovered =
            recover_client(fabric, coordinator.events(), &Meter::new(), &home, client, &grants).await;
        match recovered {
            Ok(recovered) => {
                assert_eq!(recovered.quiet.len(), 1);
                rpc(fabric).await;
                // The daemon refuses what was put in order in a view that is over.
                if coordinator.is_open_in(epoch) {
                    coordinator.seal_now(extent, client);
                    world.note(|| wrong(&format!("client {} is recovered: {:?}", lost.id, recovered.swept)));
                    return;
                }
            }
            Err(failure) => {
                assert!(failure.is_of_view(), "client {} cannot be recovered: {failure}", lost.id);
                rpc(fabric).await;
            }
        }
    }
}
