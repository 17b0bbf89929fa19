//! The threads of this node's agent (`farrow-agent`): what they are asked to do, and the sessions and links they do it with.
//!
//! ```text
//!  heartbeat ── orders ──► Tasks ──► urgent       a node is lost: its homes wait
//!                                └─► background   restore redundancy; clean up behind lost clients
//! ```

mod field;
mod tasks;

pub(crate) use field::{Ground, Role};
pub(crate) use tasks::Tasks;

use crate::daemon::Ending;
use farrow_agent::{AgentError, Field, Restores, change_view, recover};
use farrow_control::coordination::{Order, Task};
use farrow_fabric::block_on;
use farrow_protocol::Events;
use std::thread;
use std::time::Duration;

/// Between two attempts at an order that failed.
const PAUSE: Duration = Duration::from_millis(10);
/// Of the thread that copies, beside the daemon's others and the clients of this host.
const BACKGROUND_NICE: i32 = 10;
/// How long to sleep when there is nothing to do.
const IDLE: Duration = Duration::from_millis(200);

/// Changes views, until the daemon ends.
pub(crate) fn urgent(ground: &Ground, tasks: &Tasks, ending: &Ending) {
    let events = Events::default();
    while !ending.is_told() {
        ground.meet_everybody();
        let Some(order) = tasks.next(IDLE, |order| matches!(order.task, Task::ChangeView { .. })) else {
            continue;
        };
        match block_on(ground.fabric(), change_view(ground, &events, &order)) {
            Ok(_) => tasks.finish(&order),
            Err(error) => failed(tasks, &order, &error),
        }
    }
}

/// Restores redundancy and cleans up behind lost clients, until the daemon ends.
pub(crate) fn background(ground: &Ground, tasks: &Tasks, ending: &Ending) {
    let events = Events::default();
    let mut restores = Restores::default();
    // Copies are not worth a client's waiting for a core.
    if let Err(error) = rustix::process::nice(BACKGROUND_NICE) {
        tracing::debug!(%error, "restoring redundancy at the priority of everything else");
    }
    while !ending.is_told() {
        let wait = if restores.is_busy() { Duration::ZERO } else { IDLE };
        let orders = tasks.wait_for(wait, |order| !matches!(order.task, Task::ChangeView { .. }));
        for order in &orders {
            if let Task::RecoverClient { client } = order.task {
                match block_on(ground.fabric(), recover(ground, &events, order, client)) {
                    Ok(()) => tasks.finish(order),
                    Err(error) => failed(tasks, order, &error),
                }
            }
        }
        let ended = block_on(ground.fabric(), restores.work(ground, &events, &orders));
        ended.iter().for_each(|order| tasks.finish(order));
        if restores.is_busy() {
            thread::sleep(restores.pause());
        }
    }
}

fn failed(tasks: &Tasks, order: &Order, error: &AgentError) {
    if error.is_superseded() {
        return tasks.finish(order);
    }
    tracing::debug!(order = %order.id, %error, "an order did not come to its end; beginning anew");
    thread::sleep(PAUSE);
}
