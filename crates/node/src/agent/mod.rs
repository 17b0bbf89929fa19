//! The agent: carries out the coordinator's orders as a client of all nodes. Every memory node has one.
//!
//! ```text
//!  heartbeat ── orders ──► Tasks ──► urgent       a node is lost: close, equalise, publish
//!                                └─► background   restore redundancy; clean up behind lost clients
//! ```
//!
//! It touches memory with verbs and asks nodes and the coordinator like anybody else; nothing is its own but the links. What it
//! leaves half done is begun anew by whoever gets the order next, behind a later fence.

mod change;
mod field;
mod tasks;

pub(crate) use field::{Field, Role};
pub(crate) use tasks::Tasks;

use crate::ending::Ending;
use farrow_control::coordination::{Order, Task};
use std::time::Duration;

/// Between two attempts at an order that failed.
const PAUSE: Duration = Duration::from_millis(5);
/// How long to sleep when there is nothing to do.
const IDLE: Duration = Duration::from_millis(200);

/// Changes views, until the daemon ends.
pub(crate) fn urgent(mut field: Field, tasks: &Tasks, ending: &Ending) {
    while !ending.is_told() {
        field.meet_everybody();
        let Some(order) = tasks.next(IDLE, |order| matches!(order.task, Task::ChangeView { .. })) else {
            continue;
        };
        match change::change_view(&mut field, &order) {
            Ok(()) => tasks.finish(&order),
            Err(error) if error.is_superseded() => tasks.finish(&order),
            Err(error) => {
                tracing::warn!(order = %order.id, %error, "a change of view did not come to its end; beginning anew");
                std::thread::sleep(PAUSE);
            }
        }
    }
}
