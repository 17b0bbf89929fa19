//! What the coordinator says: who is there, which homes want copies, and what is being done about it.

use super::ClusterView;
use crate::connect::Reach;
use crate::human;
use crate::table::{Side, Table};
use farrow_control::coordination::{Ask, CoordinatorStatus, OrderStatus, Task, Tell};
use farrow_control::map::{ClusterMap, HomeEntry};
use farrow_layout::HomeId;
use farrow_transport::Caller;
use serde_json::{Value, json};

/// Asks the coordinator that leads; why there is no answer, if there is none. `None` in a static cluster.
pub fn ask(reach: &Reach, map: Option<&ClusterMap>) -> Option<Result<CoordinatorStatus, String>> {
    let configured = &reach.loaded.config.cluster.coordinators;
    let coordinators = match map {
        Some(map) if configured.is_empty() => &map.coordinators,
        _ => configured,
    };
    if coordinators.is_empty() {
        return None;
    }
    let mut caller = Caller::new(coordinators.clone(), reach.dial.secret.clone(), "farrow status");
    Some(match caller.call(&Ask::Status, reach.options.deadline) {
        Ok(Tell::Status(status)) => Ok(*status),
        Ok(other) => Err(format!("the coordinator gave an answer that does not fit: {other:?}")),
        Err(error) => Err(error.to_string()),
    })
}

/// A home that is not as the policy wants it.
struct Exposed<'a> {
    home: &'a HomeEntry,
    missing: usize,
    /// Bytes at its primary, as far as that could be asked.
    bytes: u64,
}

fn exposed<'a>(cluster: &ClusterView, map: &'a ClusterMap) -> Vec<Exposed<'a>> {
    let bytes_of = |home: HomeId| {
        let answers = cluster.nodes.iter().filter_map(|node| node.answer.as_ref().ok());
        let primary = map.homes.get(usize::from(home.0)).and_then(|entry| entry.members.first())?;
        let stats = answers.map(|answer| &answer.stats).find(|stats| stats.node == primary.node)?;
        let segment = stats.segments.iter().find(|segment| segment.home == home)?;
        Some(segment.sealed_bytes + segment.open_bytes)
    };
    let homes = map.homes.iter().filter(|home| map.missing(home) > 0 || !home.is_open);
    let of = |home: &'a HomeEntry| Exposed {
        home,
        missing: map.missing(home),
        bytes: bytes_of(home.id).unwrap_or_default(),
    };
    homes.map(of).collect()
}

/// For people.
pub fn text(cluster: &ClusterView) -> String {
    let status = match &cluster.coordination {
        None => return String::new(),
        Some(Err(why)) => return format!("\nno coordinator: {why}\n"),
        Some(Ok(status)) => status,
    };
    let counts = status.counts;
    let mut text = format!(
        "\ncoordinator: state in {}, lease {} ms, {}; since it leads: {} and {} lost, {}, {}, {}\n",
        status.store,
        status.lease_ms,
        human::plural(status.processes.len() as u64, "client program"),
        human::plural(counts.nodes_lost, "node"),
        human::plural(counts.processes_lost, "client program"),
        human::plural(counts.views_changed, "view") + " changed",
        human::plural(counts.members_restored, "replica") + " restored",
        human::plural(counts.clients_recovered, "client") + " cleaned up behind",
    );
    let exposed = exposed(cluster, &status.map);
    if exposed.is_empty() {
        text += "every home has all of its copies\n";
        return text + &orders(status);
    }
    let bytes: u64 = exposed.iter().map(|exposed| exposed.bytes).sum();
    text += &format!(
        "EXPOSED: {} with {} are not as the policy wants them\n\n",
        human::plural(exposed.len() as u64, "home"),
        human::bytes(bytes)
    );
    let columns = [
        ("HOME", Side::Left),
        ("COPIES", Side::Left),
        ("STATE", Side::Left),
        ("BYTES", Side::Right),
        ("WHAT IS DONE", Side::Left),
    ];
    let mut table = Table::new(&columns);
    for exposed in &exposed {
        let id = exposed.home.id;
        table.row([
            id.to_string(),
            format!("{} of {}", exposed.home.members.len(), exposed.home.members.len() + exposed.missing),
            state(exposed.home).to_owned(),
            human::bytes(exposed.bytes),
            done_about(status, id),
        ]);
    }
    text + &table.to_string() + &orders(status)
}

fn state(home: &HomeEntry) -> &'static str {
    match (home.members.is_empty(), home.is_open) {
        (true, _) => "LOST",
        (false, true) => "open",
        (false, false) => "closed for a change",
    }
}

fn done_about(status: &CoordinatorStatus, home: HomeId) -> String {
    let restored = status.orders.iter().find(|of| match &of.order.task {
        Task::Restore { home: of, .. } => *of == home,
        Task::ChangeView { homes, .. } => homes.contains(&home),
        Task::RecoverClient { .. } => false,
    });
    match restored {
        Some(of) => doing(of),
        None => status
            .stuck
            .iter()
            .find(|(of, _)| *of == home)
            .map_or_else(|| "nothing yet".to_owned(), |(_, why)| format!("nothing: {why}")),
    }
}

fn doing(of: &OrderStatus) -> String {
    let what = match &of.order.task {
        Task::ChangeView { homes, .. } => {
            format!("changing the view of {}", human::plural(homes.len() as u64, "home"))
        }
        Task::Restore { home, target, .. } => format!("copying {home} to {}", target.node),
        Task::RecoverClient { client } => format!("cleaning up behind client {client}"),
    };
    let agent = of.agent.map_or("nobody yet".to_owned(), |agent| agent.to_string());
    match of.progress.filter(|progress| progress.total > 0) {
        Some(progress) => format!(
            "{what}: {} ({} of {}), by {agent}",
            human::percent(progress.done, progress.total),
            human::bytes(progress.done),
            human::bytes(progress.total)
        ),
        None => format!("{what}, by {agent}"),
    }
}

/// Orders that are about no home in particular.
fn orders(status: &CoordinatorStatus) -> String {
    let is_other = |of: &&OrderStatus| matches!(of.order.task, Task::RecoverClient { .. });
    status
        .orders
        .iter()
        .filter(is_other)
        .map(|of| format!("order {}: {}\n", of.order.id, doing(of)))
        .collect()
}

/// For machines.
pub fn json(cluster: &ClusterView) -> Value {
    let status = match &cluster.coordination {
        None => return Value::Null,
        Some(Err(why)) => return json!({ "state": "unreachable", "reason": why }),
        Some(Ok(status)) => status,
    };
    let exposed: Vec<Value> = exposed(cluster, &status.map)
        .iter()
        .map(|exposed| {
            json!({
                "home": exposed.home.id.0,
                "members": exposed.home.members.len(),
                "missing": exposed.missing,
                "open": exposed.home.is_open,
                "bytes": exposed.bytes,
            })
        })
        .collect();
    json!({
        "state": "up",
        "store": status.store,
        "lease_ms": status.lease_ms,
        "leases": status.leases,
        "processes": status.processes,
        "orders": status.orders,
        "stuck": status.stuck,
        "counts": status.counts,
        "exposed": exposed,
        "exposed_bytes": exposed.iter().filter_map(|home| home["bytes"].as_u64()).sum::<u64>(),
    })
}

/// Whether no key is out of reach.
pub fn is_well(cluster: &ClusterView) -> bool {
    match &cluster.coordination {
        None => true,
        Some(Err(_)) => false,
        Some(Ok(status)) => status.map.homes.iter().all(|home| !home.members.is_empty()),
    }
}
