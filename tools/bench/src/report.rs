//! What a run came to: a table for people, one object for scripts.

use crate::drive::Outcome;
use crate::memory::Memory;
use crate::settings::{Length, Settings};
use crate::tally::KindTally;
use crate::workload::mix::OpKind;
use farrow_client::Cluster;
use farrow_fabric::Totals;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// What was measured, and how it was reached.
pub(crate) struct Where {
    cluster: Value,
    transport: String,
    reasons: Vec<String>,
}

impl Where {
    pub(crate) fn peer(peer: &str) -> Where {
        Where {
            cluster: json!({ "peer": peer }),
            transport: peer.split(':').next().unwrap_or_default().into(),
            reasons: Vec::new(),
        }
    }

    pub(crate) fn cluster(cluster: &Cluster, is_embedded: bool) -> Where {
        let nodes = cluster.nodes();
        let mut transports: Vec<_> = nodes.iter().map(|n| n.transport).collect();
        transports.sort_unstable();
        transports.dedup();
        let mut reasons: Vec<_> = nodes.iter().map(|n| format!("{}: {}", n.transport, n.reason)).collect();
        reasons.dedup();
        let geometry = cluster.map().geometry;
        Where {
            cluster: json!({
                "nodes": nodes.len(),
                "embedded": is_embedded,
                "policy": geometry.policy.to_string(),
                "commit": cluster.map().commit.to_string(),
                "block_size": geometry.block_len,
                "extent_size": geometry.extent_len,
                "fallbacks": nodes.iter().filter(|n| n.is_fallback).count(),
            }),
            transport: transports.join("+"),
            reasons,
        }
    }
}

/// A run and everything around it.
pub(crate) struct Report<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) place: Where,
    pub(crate) memory: Option<Memory>,
    pub(crate) outcome: Outcome,
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

fn name(kind: OpKind) -> &'static str {
    match kind {
        OpKind::Get => "get",
        OpKind::Put => "put",
        OpKind::Insert => "insert",
        OpKind::Delete => "delete",
        OpKind::ReadModifyWrite => "rmw",
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Report<'_> {
    fn seconds(&self) -> f64 {
        self.outcome.elapsed.as_secs_f64().max(1e-9)
    }

    fn kinds(&self) -> impl Iterator<Item = (OpKind, &KindTally)> {
        OpKind::ALL
            .iter()
            .map(|kind| (*kind, self.outcome.tally.kind(*kind)))
            .filter(|(_, tally)| tally.count() > 0)
    }

    /// One object; docs/bench.md describes it.
    pub(crate) fn json(&self) -> Value {
        let s = self.settings;
        let length = |l: Length| match l {
            Length::Ops(ops) => json!({ "ops": ops }),
            Length::Time(time) => json!({ "seconds": time.as_secs_f64() }),
        };
        let mut ops = Map::new();
        for (kind, tally) in self.kinds() {
            ops.insert(name(kind).into(), self.kind_json(tally));
        }
        let errors: Map<String, Value> = self
            .outcome
            .tally
            .errors
            .iter()
            .map(|(label, (count, _))| ((*label).to_owned(), json!(count)))
            .collect();
        let cache = self.outcome.counters.cache;
        json!({
            "config": {
                "workload": s.workload, "distribution": s.distribution, "keys": s.keys, "value_size": s.value_size,
                "threads": s.threads, "in_flight": s.in_flight, "rate": s.rate, "length": length(s.length),
                "warm_up": length(s.warm_up), "seed": s.seed, "verify": s.verify, "load": s.load,
                "cluster": self.place.cluster,
            },
            "transport": self.place.transport,
            "transport_reasons": self.place.reasons,
            "elapsed_s": round(self.seconds()),
            "load_s": self.outcome.load.map(|l| round(l.as_secs_f64())),
            "ops_per_s": round(self.outcome.tally.count() as f64 / self.seconds()),
            "errors": errors,
            "not_started": self.outcome.not_started,
            "full": self.outcome.is_full,
            "ops": ops,
            "cache": { "hits": cache.hits, "misses": cache.misses, "stale": cache.stale },
            "memory": self.memory_json(),
            "fabric": self.outcome.counters.fabric,
            "events": self.outcome.counters.events,
        })
    }

    fn kind_json(&self, tally: &KindTally) -> Value {
        let count = tally.count() as f64;
        let mean = |sum: u64| round(sum as f64 / count);
        let mut latency: Map<String, Value> = QUANTILES
            .iter()
            .map(|(label, q)| {
                ((*label).to_owned(), json!(round(tally.latency_ns.value_at_quantile(*q) as f64 / 1000.0)))
            })
            .collect();
        latency.insert("max".into(), json!(round(tally.latency_ns.max() as f64 / 1000.0)));
        let f: &Totals = &tally.foreground;
        json!({
            "count": tally.count(),
            "absent": tally.absent,
            "ops_per_s": round(count / self.seconds()),
            "latency_us": latency,
            "round_trips": mean(tally.round_trips),
            "verbs": { "read": mean(f.reads), "write": mean(f.writes), "cas": mean(f.cas), "faa": mean(f.faa) },
            "background_verbs": mean(tally.background.verbs()),
            "bytes": {
                "out": mean(f.bytes_out + tally.background.bytes_out),
                "in": mean(f.bytes_in + tally.background.bytes_in),
            },
            "conflicts": tally.conflicts,
        })
    }

    fn memory_json(&self) -> Value {
        let Some(memory) = &self.memory else { return Value::Null };
        let (live, sum) = (self.outcome.live_bytes, memory.total());
        let nodes: Vec<_> = memory
            .nodes
            .iter()
            .map(|stats| {
                let s = memory.sum(stats);
                json!({ "node": stats.node, "memory_bytes": stats.memory_len, "stored_bytes": s.stored, "dead_bytes": s.dead,
                    "index_bytes": s.index, "open_bytes": s.open, "free_bytes": s.free })
            })
            .collect();
        json!({
            "live_bytes": live, "stored_bytes": sum.stored, "dead_bytes": sum.dead, "index_bytes": sum.index,
            "open_bytes": sum.open, "free_bytes": sum.free, "stored_per_live": round(sum.stored as f64 / live.max(1) as f64), "nodes": nodes,
        })
    }

    /// A table.
    pub(crate) fn text(&self) -> String {
        let s = self.settings;
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{} ({} keys, values {}, {}), {} thread(s), {} in flight{}",
            s.workload,
            s.keys,
            s.value_size,
            s.distribution,
            s.threads,
            s.in_flight,
            s.rate.map_or(", closed loop".into(), |r| format!(", open loop at {r}/s"))
        );
        let _ = writeln!(out, "over {}", self.place.transport);
        for reason in &self.place.reasons {
            let _ = writeln!(out, "  {reason}");
        }
        let total = self.outcome.tally.count();
        let _ = writeln!(
            out,
            "{total} operations in {:.2} s: {:.0}/s\n",
            self.seconds(),
            total as f64 / self.seconds()
        );
        let _ = writeln!(
            out,
            "{:<7} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>9} {:>6} {:>16} {:>7} {:>8} {:>8} {:>9}",
            "op",
            "count",
            "ops/s",
            "p50 us",
            "p90",
            "p99",
            "p99.9",
            "max",
            "trips",
            "R/W/CAS/FAA",
            "behind",
            "out B",
            "in B",
            "conflicts"
        );
        for (kind, tally) in self.kinds() {
            let count = tally.count() as f64;
            let us = |q: f64| tally.latency_ns.value_at_quantile(q) as f64 / 1000.0;
            let f = &tally.foreground;
            let mean = |sum: u64| sum as f64 / count;
            let verbs =
                format!("{:.2}/{:.2}/{:.2}/{:.0}", mean(f.reads), mean(f.writes), mean(f.cas), mean(f.faa));
            let _ = writeln!(
                out,
                "{:<7} {:>10} {:>10.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>9.1} {:>6.3} {:>16} {:>7.2} {:>8.0} {:>8.0} {:>9}",
                name(kind),
                tally.count(),
                count / self.seconds(),
                us(0.5),
                us(0.9),
                us(0.99),
                us(0.999),
                tally.latency_ns.max() as f64 / 1000.0,
                mean(tally.round_trips),
                verbs,
                mean(tally.background.verbs()),
                mean(f.bytes_out + tally.background.bytes_out),
                mean(f.bytes_in),
                tally.conflicts
            );
        }
        for (label, (count, why)) in &self.outcome.tally.errors {
            let _ = writeln!(out, "errors: {count} {label}: {why}");
        }
        if self.outcome.not_started > 0 {
            let _ = writeln!(
                out,
                "{} operations were due and never started: the store cannot keep this rate",
                self.outcome.not_started
            );
        }
        let cache = self.outcome.counters.cache;
        let _ =
            writeln!(out, "\ncache   {} hits, {} misses, {} stale", cache.hits, cache.misses, cache.stale);
        if let Some(memory) = &self.memory {
            let sum = memory.total();
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let _ = writeln!(
                out,
                "memory  {:.1} MiB live, {:.1} MiB stored ({:.2} per live byte), {:.1} MiB of it dead, {:.1} MiB index, {:.1} MiB open, {:.1} MiB free",
                mib(self.outcome.live_bytes),
                mib(sum.stored),
                sum.stored as f64 / self.outcome.live_bytes.max(1) as f64,
                mib(sum.dead),
                mib(sum.index),
                mib(sum.open),
                mib(sum.free)
            );
            for stats in &memory.nodes {
                let s = memory.sum(stats);
                let _ = writeln!(
                    out,
                    "  {:<5} {:>9.1} MiB stored {:>9.1} MiB dead {:>9.1} MiB index {:>9.1} MiB open {:>9.1} MiB free",
                    stats.node.to_string(),
                    mib(s.stored),
                    mib(s.dead),
                    mib(s.index),
                    mib(s.open),
                    mib(s.free)
                );
            }
        }
        out
    }
}
