//! The state of a cluster, for people and for machines.

use super::{ClusterView, NodeAnswer, NodeView, coordination};
use crate::human;
use crate::table::{Side, Table};
use farrow_control::message::SegmentStats;
use serde_json::{Value, json};
use std::time::Duration;

/// For people.
pub fn text(cluster: &ClusterView) -> String {
    let mut text = match &cluster.map {
        Some(map) => format!(
            "cluster \"{}\": {}, {}, commit {}, epoch {}\n\n",
            map.name,
            human::plural(cluster.nodes.len() as u64, "node"),
            map.geometry.policy,
            map.commit,
            map.epoch
        ),
        None => "no node of the cluster answers\n\n".to_owned(),
    };
    text += &nodes(cluster).to_string();
    text += &details(cluster);
    let homes = homes(cluster);
    if !homes.is_empty() {
        text += &format!("\n{homes}");
    }
    text + &coordination::text(cluster)
}

fn nodes(cluster: &ClusterView) -> Table {
    let columns = [
        ("NODE", Side::Left),
        ("ADDRESS", Side::Left),
        ("STATE", Side::Left),
        ("UP FOR", Side::Right),
        ("MEMORY", Side::Right),
        ("CLIENTS", Side::Right),
        ("EPOCH", Side::Left),
        ("INCARNATION", Side::Left),
        ("REACHED BY", Side::Left),
    ];
    let mut table = Table::new(&columns);
    for node in &cluster.nodes {
        let name = format!("n{}", node.number);
        let dash = || "-".to_owned();
        let NodeAnswer { stats, reached, .. } = match &node.answer {
            Ok(answer) => answer,
            Err(_) => {
                let cells = [dash(), dash(), dash(), dash(), dash(), dash()];
                table.row([name, node.address.clone(), "unreachable".to_owned()].into_iter().chain(cells));
                continue;
            }
        };
        table.row([
            name,
            node.address.clone(),
            "up".to_owned(),
            human::uptime(Duration::from_secs_f64(stats.uptime_s.max(0.0))),
            human::bytes(stats.memory_len),
            stats.clients.len().to_string(),
            stats.epoch.to_string(),
            stats.incarnation.to_string(),
            reached.as_ref().map_or("nothing".to_owned(), |choice| {
                format!("{}{}", choice.transport, if choice.is_fallback { " (fallback)" } else { "" })
            }),
        ]);
    }
    for node in &cluster.lost {
        let cells = std::iter::repeat_n("-".to_owned(), 6);
        table.row([node.id.to_string(), node.address.clone(), "lost".to_owned()].into_iter().chain(cells));
    }
    table
}

/// What is to be said about nodes, once for all of whom it is true.
fn details(cluster: &ClusterView) -> String {
    let mut said = [("unreachable", vec![]), ("reached by", vec![]), ("pages", vec![]), ("offers", vec![])];
    let (mut clients, mut differences) = (Vec::new(), Vec::new());
    for node in &cluster.nodes {
        let number = node.number;
        let [unreachable, reached_by, pages, offers] = &mut said;
        let NodeAnswer { stats, reached, difference } = match &node.answer {
            Ok(answer) => answer,
            Err(why) => {
                unreachable.1.push((number, why.clone()));
                continue;
            }
        };
        reached_by.1.push((
            number,
            match reached {
                Ok(choice) => choice.to_string(),
                Err(why) => format!("nothing: {why}"),
            },
        ));
        pages.1.push((number, stats.pages.clone()));
        // The socket's name holds the node's address, which stands above.
        let offer = |text: &String| (number, text.replace(&node.address, "ADDRESS"));
        offers.1.extend(stats.transports.iter().map(offer));
        for client in &stats.clients {
            let transport = if client.transport.is_empty() { "no link" } else { &client.transport };
            clients
                .push((number, format!("{} {}, pid {}, {transport}", client.client, client.who, client.pid)));
        }
        differences
            .extend(difference.iter().map(|why| (number, format!("does not belong to this cluster: {why}"))));
    }
    let all = said.into_iter().chain([("clients", clients), ("DIFFERS", differences)]);
    let mut table = Table::new(&[("", Side::Left), ("", Side::Left), ("", Side::Left)]);
    for (label, facts) in all {
        let mut label = label;
        for (nodes, fact) in grouped(&facts) {
            table.row([std::mem::take(&mut label).to_owned(), nodes, fact.to_owned()]);
        }
    }
    // Its head is empty.
    format!("{}\n", table.to_string().trim_end())
}

/// Each text once, with the nodes of which it was said, in the order in which it was said first.
fn grouped(facts: &[(usize, String)]) -> Vec<(String, &str)> {
    let mut groups: Vec<(Vec<usize>, &str)> = Vec::new();
    for (number, fact) in facts {
        match groups.iter_mut().find(|(_, known)| known == fact) {
            Some((nodes, _)) => nodes.push(*number),
            None => groups.push((vec![*number], fact)),
        }
    }
    groups.into_iter().map(|(nodes, fact)| (names(&nodes), fact)).collect()
}

/// `n0`, `n0-n4`, `n0 n2-n4`.
fn names(nodes: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &node in nodes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == node || *last == node => *last = node,
            _ => ranges.push((node, node)),
        }
    }
    let name = |(first, last): (usize, usize)| match first == last {
        true => format!("n{first}"),
        false => format!("n{first}-n{last}"),
    };
    ranges.into_iter().map(name).collect::<Vec<_>>().join(" ")
}

/// Segments that are primaries, in the order of their homes, with the node that told of them.
fn primaries(cluster: &ClusterView) -> Vec<(&SegmentStats, String)> {
    let mut all: Vec<_> = cluster
        .nodes
        .iter()
        .filter_map(|node| node.answer.as_ref().ok())
        .flat_map(|answer| answer.stats.segments.iter().map(|s| (s, answer.stats.node.to_string())))
        .filter(|(segment, _)| segment.rank == 0)
        .collect();
    all.sort_by_key(|(segment, _)| segment.home);
    all
}

fn homes(cluster: &ClusterView) -> Table {
    let right = Side::Right;
    let columns = [
        ("HOME", Side::Left),
        ("PRIMARY", Side::Left),
        ("BACKUPS", Side::Left),
        ("STORED", right),
        ("DEAD", right),
        ("OPEN", right),
        ("ORPHANED", right),
        ("FREE", right),
        ("BLOCKS", right),
        ("SLOTS USED", right),
    ];
    let mut table = Table::new(&columns);
    let mut total = SegmentStats::default();
    let rows = primaries(cluster);
    for (segment, node) in &rows {
        let members = cluster.map.as_ref().and_then(|map| map.homes.get(usize::from(segment.home.0)));
        let backups: Vec<_> =
            members.iter().flat_map(|home| &home.members).skip(1).map(|m| m.node.to_string()).collect();
        let backups = if backups.is_empty() { "-".to_owned() } else { backups.join(" ") };
        table.row([segment.home.to_string(), node.clone(), backups].into_iter().chain(usage(segment)));
        total.block_bytes += segment.block_bytes;
        total.sealed_bytes += segment.sealed_bytes;
        total.dead_bytes += segment.dead_bytes;
        total.open_bytes += segment.open_bytes;
        total.orphaned_bytes += segment.orphaned_bytes;
        total.free_bytes += segment.free_bytes;
        total.used_slots += segment.used_slots;
        total.slots += segment.slots;
    }
    if rows.len() > 1 {
        table.row(["all".to_owned(), String::new(), String::new()].into_iter().chain(usage(&total)));
    }
    table
}

fn usage(segment: &SegmentStats) -> [String; 7] {
    [
        human::bytes(segment.sealed_bytes),
        human::bytes(segment.dead_bytes),
        human::bytes(segment.open_bytes),
        human::bytes(segment.orphaned_bytes),
        human::bytes(segment.free_bytes),
        human::bytes(segment.block_bytes),
        format!(
            "{} ({})",
            human::count(segment.used_slots),
            human::percent(segment.used_slots, segment.slots)
        ),
    ]
}

/// For machines.
pub fn json(cluster: &ClusterView) -> Value {
    let map = cluster.map.as_ref();
    let homes = primaries(cluster).into_iter().map(|(segment, _)| {
        let members = map.and_then(|map| map.homes.get(usize::from(segment.home.0)));
        let nodes: Vec<_> = members.iter().flat_map(|home| &home.members).map(|m| m.node.0).collect();
        json!({
            "home": segment.home.0,
            "nodes": nodes,
            "stored_bytes": segment.sealed_bytes,
            "dead_bytes": segment.dead_bytes,
            "open_bytes": segment.open_bytes,
            "orphaned_bytes": segment.orphaned_bytes,
            "free_bytes": segment.free_bytes,
            "block_bytes": segment.block_bytes,
            "index_bytes": segment.index_bytes,
            "used_slots": segment.used_slots,
            "slots": segment.slots,
        })
    });
    json!({
        "cluster": map.map(|map| json!({
            "name": map.name,
            "policy": map.geometry.policy.to_string(),
            "commit": map.commit.to_string(),
            "epoch": map.epoch.0,
            "homes": map.homes.len(),
        })),
        "nodes": cluster.nodes.iter().map(|node| node_json(node.number, node)).collect::<Vec<_>>(),
        "lost": cluster.lost.iter().map(|node| json!({ "node": node.id.0, "address": node.address })).collect::<Vec<_>>(),
        "coordination": coordination::json(cluster),
        "homes": homes.collect::<Vec<_>>(),
    })
}

fn node_json(number: usize, node: &NodeView) -> Value {
    match &node.answer {
        Err(why) => json!({ "node": number, "address": node.address, "state": "unreachable", "reason": why }),
        Ok(NodeAnswer { stats, reached, difference }) => json!({
            "node": number,
            "address": node.address,
            "state": "up",
            "incarnation": stats.incarnation.to_string(),
            "epoch": stats.epoch.0,
            "pid": stats.pid,
            "uptime_s": stats.uptime_s,
            "memory_bytes": stats.memory_len,
            "pages": stats.pages,
            "offers": stats.transports,
            "reached_by": reached.as_ref().ok().map(|choice| choice.transport),
            "reason": reached.as_ref().map_or_else(Clone::clone, |choice| choice.reason.clone()),
            "fallback": reached.as_ref().is_ok_and(|choice| choice.is_fallback),
            "difference": difference,
            "clients": stats.clients,
            "segments": stats.segments,
            "requests": stats.requests.iter().map(|(kind, count)| (kind.clone(), json!(count))).collect::<serde_json::Map<_, _>>(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_true_of_many_is_said_once() {
        let facts = [(0, "a"), (1, "a"), (2, "b"), (3, "a")].map(|(node, fact)| (node, fact.to_owned()));
        assert_eq!(grouped(&facts), [("n0-n1 n3".to_owned(), "a"), ("n2".to_owned(), "b")]);
    }
}
