//! The threads of this node's agent (`farrow-agent`): what they are asked to do, and the sessions and links they do it with.
//!
//! ```text
//!  heartbeat ── orders ──► Tasks ──► urgent       a node is lost: its homes wait
//!                                └─► background   clean up behind lost clients; copy blocks, at a low priority
//!                                       │   ▲
//!                                       ▼   │
//!                                      freeze     complete copies, while clients wait
//!
//!                                      near       brings the memory near that may have to be copied, a little at a time
//! ```

mod field;
mod tasks;

pub(crate) use field::{Ground, Role};
pub(crate) use tasks::Tasks;

use crate::daemon::Ending;
use farrow_agent::{AgentError, Field, Frozen, Ready, Restores, change_view, recover};
use farrow_control::coordination::{Order, Task};
use farrow_fabric::block_on;
use farrow_protocol::Events;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Between two attempts at an order that failed.
const PAUSE: Duration = Duration::from_millis(10);
/// Of the thread that copies, beside the daemon's others and the clients of this host.
const BACKGROUND_NICE: i32 = 5;
/// Between two parts of memory that are brought near, which take half a millisecond each.
const REST: Duration = Duration::from_millis(8);
/// How long to sleep when there is nothing to do.
const IDLE: Duration = Duration::from_millis(200);

/// Changes views, until the daemon ends.
pub(crate) fn urgent(ground: &Ground, tasks: &Tasks, ending: &Ending) {
    let events = Events::default();
    while !ending.is_told() {
        ground.let_go();
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

/// Cleans up behind lost clients, and copies blocks while clients work, until the daemon ends. Restores that are ready are handed to
/// [`freeze`], and come back from it.
pub(crate) fn background(
    ground: &Ground,
    tasks: &Tasks,
    ending: &Ending,
    ready: &Sender<Ready>,
    frozen: &Receiver<Frozen>,
) {
    let events = Events::default();
    let mut restores = Restores::default();
    // Copies are not worth a client's waiting for a core.
    if let Err(error) = rustix::process::nice(BACKGROUND_NICE) {
        tracing::debug!(%error, "restoring redundancy at the priority of everything else");
    }
    while !ending.is_told() {
        ground.let_go();
        // Before the orders are looked at: what was frozen is no order any more.
        frozen.try_iter().for_each(|frozen| restores.put_back(frozen));
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
        if let Some(are_ready) = block_on(ground.fabric(), restores.copy(ground, &orders))
            && ready.send(are_ready).is_err()
        {
            return;
        }
        if restores.is_busy()
            && let Ok(frozen) = frozen.recv_timeout(restores.pause())
        {
            restores.put_back(frozen);
        }
    }
}

/// Completes restores that are ready, while clients wait, until the daemon ends.
pub(crate) fn freeze(
    ground: &Ground,
    tasks: &Tasks,
    ending: &Ending,
    ready: &Receiver<Ready>,
    frozen: &Sender<Frozen>,
) {
    let events = Events::default();
    while !ending.is_told() {
        ground.let_go();
        let ready = match ready.recv_timeout(IDLE) {
            Ok(ready) => ready,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let done = block_on(ground.fabric(), ready.freeze(ground, &events));
        done.ended.iter().for_each(|order| tasks.finish(order));
        if frozen.send(done).is_err() {
            return;
        }
    }
}

/// Brings the memory near that may have to be copied one day, until the daemon ends.
pub(crate) fn bring_near(ground: &Ground, _: &Tasks, ending: &Ending) {
    while !ending.is_told() {
        ground.let_go();
        let is_more = ground.bring_near();
        // Rests, not a low priority: the kernel holds a lock meanwhile that the threads of an urgent order need.
        thread::sleep(if is_more { REST } else { IDLE });
    }
}

fn failed(tasks: &Tasks, order: &Order, error: &AgentError) {
    if error.is_superseded() {
        return tasks.finish(order);
    }
    tracing::debug!(order = %order.id, %error, "an order did not come to its end; beginning anew");
    thread::sleep(PAUSE);
}
