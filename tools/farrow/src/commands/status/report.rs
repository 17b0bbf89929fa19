//! The state of a cluster, for people and for machines.

use super::{ClusterView, NodeAnswer, NodeView};
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
            human::plural(map.nodes.len() as u64, "node"),
            map.geometry.policy,
            map.commit,
            map.epoch
        ),
        None => "no node of the cluster answers\n\n".to_owned(),
    };
    text += &nodes(cluster).to_string();
    for (number, node) in cluster.nodes.iter().enumerate() {
        text += &details(number, node);
    }
    let homes = homes(cluster);
    if !homes.is_empty() {
        text += &format!("\n{homes}");
    }
    text
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
    for (number, node) in cluster.nodes.iter().enumerate() {
        let name = format!("n{number}");
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
    table
}

fn details(number: usize, node: &NodeView) -> String {
    let NodeAnswer { stats, reached, difference } = match &node.answer {
        Ok(answer) => answer,
        Err(why) => return format!("\nn{number}  unreachable: {why}\n"),
    };
    let reached = match reached {
        Ok(choice) => format!("{}: {}", choice.transport, choice.reason),
        Err(why) => format!("nothing: {why}"),
    };
    let mut text = format!("\nn{number}  reached by  {reached}\n    pages       {}\n", stats.pages);
    for (line, transport) in stats.transports.iter().enumerate() {
        text += &format!("    {:11} {transport}\n", if line == 0 { "offers" } else { "" });
    }
    for (line, client) in stats.clients.iter().enumerate() {
        let transport = if client.transport.is_empty() { "no link" } else { &client.transport };
        let label = if line == 0 { "clients" } else { "" };
        text +=
            &format!("    {label:11} {} {}, pid {}, {transport}\n", client.client, client.who, client.pid);
    }
    if let Some(difference) = difference {
        text += &format!("    DIFFERS     does not belong to the cluster above: {difference}\n");
    }
    text
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
        ("LIVE", right),
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
        human::bytes(live(segment)),
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

/// Bytes of entries that slots name, as far as their extents are sealed.
fn live(segment: &SegmentStats) -> u64 {
    segment.sealed_bytes.saturating_sub(segment.dead_bytes)
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
            "live_bytes": live(segment),
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
        "nodes": cluster.nodes.iter().enumerate().map(|(number, node)| node_json(number, node)).collect::<Vec<_>>(),
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
