//! What a demo has to show.

use super::records::Records;
use super::workload::Phase;
use crate::human;
use crate::table::{Side, Table};
use anyhow::Result;
use farrow_client::{Cluster, NodeSummary};
use farrow_config::Config;
use farrow_control::message::{Reply, Request};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Memory of all nodes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Registered.
    total: u64,
    /// Index, on all members.
    index: u64,
    /// Bytes of entries in sealed extents, on all members.
    entries: u64,
    /// Of these, bytes that nothing names any more.
    dead: u64,
    /// Bytes in extents that clients hold open.
    open: u64,
    /// Bytes in extents that nobody has.
    free: u64,
}

impl Memory {
    /// Asks all nodes.
    pub fn of(cluster: &Cluster) -> Result<Memory> {
        let copies = cluster.map().geometry.policy.copies() as u64;
        let mut memory = Memory::default();
        for node in cluster.map().nodes.iter().filter(|node| node.is_up()) {
            let session = cluster.session(node.id)?;
            let stats = match session.call(&Request::Stats)? {
                Reply::Stats(stats) => stats,
                other => return Err(session.confused(&other).into()),
            };
            memory.total += stats.memory_len;
            for segment in &stats.segments {
                memory.index += segment.index_bytes;
                memory.free += segment.free_bytes;
                memory.open += segment.open_bytes;
                // The primary alone counts how full extents are; the others hold the same bytes.
                if segment.rank == 0 {
                    memory.entries += copies * segment.sealed_bytes;
                    memory.dead += copies * segment.dead_bytes;
                }
            }
        }
        Ok(memory)
    }
}

/// What was done, as it is shown in the end.
pub struct Report {
    nodes: Vec<NodeSummary>,
    policy: String,
    source: String,
    records: u64,
    live: u64,
    node_memory: u64,
    phases: Vec<(&'static str, Phase)>,
    loaded: Option<Memory>,
    ran: Option<Memory>,
}

impl Report {
    /// Of a cluster, before anything is done.
    pub fn new(cluster: &Cluster, config: &Config, records: &Records) -> Report {
        Report {
            nodes: cluster.nodes(),
            policy: config.cluster.policy.to_string(),
            source: records.source().to_owned(),
            records: records.len() as u64,
            live: records.bytes(),
            node_memory: config.node.memory,
            phases: Vec::new(),
            loaded: None,
            ran: None,
        }
    }

    /// Adds a phase.
    pub fn add(&mut self, name: &'static str, phase: Phase) {
        self.phases.push((name, phase));
    }

    /// Memory once everything was loaded.
    pub fn loaded(&mut self, memory: Memory) {
        self.loaded = Some(memory);
    }

    /// Memory behind the mixed workload.
    pub fn ran(&mut self, memory: Memory) {
        self.ran = Some(memory);
    }

    /// For people.
    pub fn text(&self) -> String {
        let right = Side::Right;
        let columns = [
            ("OPERATION", Side::Left),
            ("COUNT", right),
            ("OPS/S", right),
            ("P50", right),
            ("P99", right),
            ("ROUND TRIPS", right),
            ("READ", right),
            ("WRITE", right),
            ("CAS", right),
            ("BEHIND", right),
        ];
        let mut table = Table::new(&columns);
        for (name, phase) in &self.phases {
            let mean = Means::of(phase);
            table.row([
                (*name).to_owned(),
                human::count(phase.stats.count),
                human::rate(phase.stats.count, phase.elapsed),
                quantile(phase, 0.5).map_or("-".to_owned(), human::nanos),
                quantile(phase, 0.99).map_or("-".to_owned(), human::nanos),
                two_digits(mean.round_trips),
                two_digits(mean.reads),
                two_digits(mean.writes),
                two_digits(mean.cas),
                two_digits(mean.behind),
            ]);
        }
        let mut text = format!(
            "\n{table}\nround trips and verbs (READ, WRITE, CAS; BEHIND the reply) are means per operation; \
             load and read back went in batches of 64\n"
        );
        if let Some(memory) = &self.loaded {
            text += &format!(
                "\nmemory   {} live (keys and values), {} stored with headers and copies: {:.2} per live byte\n",
                human::bytes(self.live),
                human::bytes(memory.entries),
                per(memory.entries, self.live)
            );
            text += &format!(
                "         {} registered, {} of it index, {} free\n",
                human::bytes(memory.total),
                human::bytes(memory.index),
                human::bytes(memory.free)
            );
        }
        if let Some(memory) = self.ran {
            text += &format!(
                "         after the workload: {} stored (what a PUT replaces is not reclaimed yet)\n",
                human::bytes(memory.entries)
            );
        }
        text + "\n"
    }

    /// For machines.
    pub fn json(&self, is_kept: bool) -> Value {
        let phases = self.phases.iter().map(|(name, phase)| ((*name).replace(' ', "_"), phase_json(phase)));
        let nodes = self.nodes.iter().map(|node| {
            json!({
                "node": node.node.0,
                "address": node.address,
                "transport": node.transport,
                "reason": node.reason,
                "fallback": node.is_fallback,
            })
        });
        let memory = |memory: &Memory| {
            json!({
                "live_bytes": self.live,
                "stored_bytes": memory.entries,
                "dead_bytes": memory.dead,
                "index_bytes": memory.index,
                "open_bytes": memory.open,
                "free_bytes": memory.free,
                "registered_bytes": memory.total,
            })
        };
        json!({
            "source": self.source,
            "records": self.records,
            "policy": self.policy,
            "node_memory_bytes": self.node_memory,
            "nodes": nodes.collect::<Vec<_>>(),
            "ops": phases.collect::<Map<_, _>>(),
            "memory": {
                "loaded": self.loaded.as_ref().map(memory),
                "ran": self.ran.as_ref().map(memory),
                "stored_per_live": self.loaded.map(|m| per(m.entries, self.live)),
            },
            "kept": is_kept,
        })
    }
}

/// Cost of one operation, on average.
struct Means {
    round_trips: f64,
    reads: f64,
    writes: f64,
    cas: f64,
    behind: f64,
}

impl Means {
    fn of(phase: &Phase) -> Means {
        let stats = &phase.stats;
        let mean = |sum: u64| per(sum, stats.count);
        Means {
            round_trips: mean(stats.round_trips),
            reads: mean(stats.foreground.reads),
            writes: mean(stats.foreground.writes),
            cas: mean(stats.foreground.cas),
            behind: mean(stats.background.verbs()),
        }
    }
}

fn per(sum: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}

fn two_digits(value: f64) -> String {
    format!("{value:.2}")
}

fn quantile(phase: &Phase, share: f64) -> Option<u64> {
    let filled: Option<&Histogram<u64>> = phase.latency.as_ref().filter(|latency| !latency.is_empty());
    filled.map(|latency| latency.value_at_quantile(share))
}

fn phase_json(phase: &Phase) -> Value {
    let mean = Means::of(phase);
    let us = |share| quantile(phase, share).map(|ns| ns as f64 / 1e3);
    json!({
        "count": phase.stats.count,
        "elapsed_s": phase.elapsed.as_secs_f64(),
        "ops_per_s": human::per_second(phase.stats.count, phase.elapsed),
        "latency_us": phase.latency.as_ref().map(|_| json!({ "p50": us(0.5), "p99": us(0.99), "max": us(1.0) })),
        "round_trips": mean.round_trips,
        "verbs": { "read": mean.reads, "write": mean.writes, "cas": mean.cas },
        "background_verbs": mean.behind,
        "conflicts": phase.stats.conflicts,
    })
}
