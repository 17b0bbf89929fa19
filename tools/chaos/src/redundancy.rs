//! Whether everything is there as often as it should be.

use farrow_control::coordination::CoordinatorStatus;
use farrow_layout::NodeId;
use std::collections::BTreeSet;

/// In words, what is not as it should be; `None` when every home is open and has all of its copies on nodes that are there.
/// `gone` are nodes of which the coordinator may not know yet that they are dead.
pub fn missing(status: &CoordinatorStatus, gone: &BTreeSet<NodeId>) -> Option<String> {
    let map = &status.map;
    if map.homes.is_empty() {
        return Some("the cluster has not formed".to_owned());
    }
    for home in &map.homes {
        if !home.is_open {
            return Some(format!("home {} is closed since epoch {}", home.id, home.epoch));
        }
        if let Some(member) = home.members.iter().find(|member| gone.contains(&member.node)) {
            return Some(format!("home {} counts on {}, which is dead", home.id, member.node));
        }
        if map.missing(home) > 0 {
            let stuck = status.stuck.iter().find(|(id, _)| *id == home.id);
            let why = stuck.map(|(_, why)| format!(" ({why})")).unwrap_or_default();
            return Some(format!("home {} has {} members{why}", home.id, home.members.len()));
        }
    }
    None
}

/// Whether nothing is left to do for any agent.
pub fn is_idle(status: &CoordinatorStatus) -> bool {
    status.orders.is_empty()
}
