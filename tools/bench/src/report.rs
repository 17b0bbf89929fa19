//! What a run reports: the object that `--json` writes. `docs/bench.md` documents every field, which a test checks.

use crate::drive::Outcome;
use crate::farrow::Farrow;
use crate::settings::{Length, Settings};
use crate::tally::KindTally;
use crate::workload::key::KEY_LEN;
use crate::workload::mix::OpKind;
use anyhow::bail;
use farrow_client::NodeSummary;
use farrow_control::message::{NodeStats, Reply, Request};
use farrow_fabric::Totals;
use serde::Serialize;
use std::collections::BTreeMap;

/// The whole object.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    pub(crate) version: &'static str,
    pub(crate) config: ConfigReport,
    pub(crate) machine: Machine,
    pub(crate) transport: String,
    pub(crate) load: LoadReport,
    pub(crate) elapsed_s: f64,
    pub(crate) ops_per_s: f64,
    pub(crate) ended: &'static str,
    pub(crate) not_started: u64,
    pub(crate) errors: BTreeMap<&'static str, u64>,
    pub(crate) error_examples: BTreeMap<&'static str, String>,
    pub(crate) ops: BTreeMap<&'static str, OpReport>,
    pub(crate) cache: CacheReport,
    pub(crate) fabric: Totals,
    pub(crate) events: BTreeMap<String, u64>,
    pub(crate) memory: MemoryReport,
    pub(crate) nodes: Vec<NodeReport>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConfigReport {
    store: &'static str,
    embedded: bool,
    nodes: usize,
    policy: String,
    commit: String,
    homes: usize,
    block_bytes: u64,
    extent_bytes: u64,
    workload: String,
    mix: BTreeMap<&'static str, f64>,
    distribution: String,
    keys: u64,
    key_bytes: usize,
    value_size: String,
    value_bytes_mean: f64,
    threads: u32,
    in_flight: usize,
    #[serde(rename = "loop")]
    shape: &'static str,
    rate: Option<f64>,
    ops: Option<u64>,
    seconds: Option<f64>,
    warm_up: String,
    seed: u64,
    cache_entries: usize,
    verify: bool,
}

/// Where it ran.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
}

/// The load phase.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LoadReport {
    pub(crate) keys: u64,
    pub(crate) elapsed_s: f64,
    pub(crate) ops_per_s: f64,
}

/// One kind of operation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OpReport {
    pub(crate) count: u64,
    pub(crate) ops_per_s: f64,
    pub(crate) absent: u64,
    pub(crate) latency_us: Latency,
    pub(crate) round_trips: f64,
    pub(crate) verbs: Verbs,
    pub(crate) background_verbs: f64,
    pub(crate) bytes: Bytes,
    pub(crate) conflicts: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Verbs {
    pub(crate) read: f64,
    pub(crate) write: f64,
    pub(crate) cas: f64,
    pub(crate) faa: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Bytes {
    pub(crate) out: f64,
    #[serde(rename = "in")]
    pub(crate) into: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct CacheReport {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) stale: u64,
}

/// All nodes together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct MemoryReport {
    pub(crate) live_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) open_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) stored_per_live: f64,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeReport {
    pub(crate) node: u16,
    pub(crate) address: String,
    pub(crate) transport: &'static str,
    pub(crate) reason: String,
    pub(crate) is_fallback: bool,
    pub(crate) memory_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) block_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) open_bytes: u64,
    pub(crate) sealed_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) used_slots: u64,
    pub(crate) slots: u64,
}

const FORMAT: u32 = 1;

impl Report {
    /// Of a run on Farrow, or on a peer when there is no `farrow`.
    pub(crate) fn new(
        settings: &Settings,
        farrow: Option<&Farrow>,
        outcome: &Outcome,
        nodes: Vec<NodeReport>,
    ) -> Report {
        let seconds = outcome.elapsed.as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { round(count as f64 / seconds) } else { 0.0 };
        let ops = OpKind::ALL.map(|kind| {
            let tally = outcome.tally.kind(kind);
            (kind.name(), OpReport::new(tally, per_second(tally.count())))
        });
        let load_s = outcome.load.map_or(0.0, |time| time.as_secs_f64());
        let load_keys = if settings.load { settings.keys } else { 0 };
        let cache = &outcome.counters.cache;
        let mut transports: Vec<_> = nodes.iter().map(|node| node.transport).collect();
        transports.sort_unstable();
        transports.dedup();
        Report {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            config: ConfigReport::new(settings, farrow),
            machine: Machine::here(),
            transport: if transports.is_empty() { "resp".into() } else { transports.join("+") },
            load: LoadReport {
                keys: load_keys,
                elapsed_s: round(load_s),
                ops_per_s: if load_s > 0.0 { round(load_keys as f64 / load_s) } else { 0.0 },
            },
            elapsed_s: round(seconds),
            ops_per_s: per_second(outcome.tally.count()),
            ended: if outcome.is_full { "full" } else { "done" },
            not_started: outcome.not_started,
            errors: outcome.tally.errors.iter().map(|(label, (count, _))| (*label, *count)).collect(),
            error_examples: outcome.tally.errors.iter().map(|(l, (_, why))| (*l, why.clone())).collect(),
            ops: BTreeMap::from(ops),
            cache: CacheReport { hits: cache.hits, misses: cache.misses, stale: cache.stale },
            fabric: outcome.counters.fabric,
            events: outcome.counters.events.clone(),
            memory: MemoryReport::sum(&nodes, outcome.live_bytes),
            nodes,
        }
    }

    /// Whether the run went as it should.
    pub(crate) fn is_good(&self) -> bool {
        self.errors.is_empty()
    }
}

impl ConfigReport {
    fn new(settings: &Settings, farrow: Option<&Farrow>) -> ConfigReport {
        let map = farrow.map(|f| f.cluster().map());
        let mix = OpKind::ALL.map(|kind| (kind.name(), settings.mix.share(kind)));
        ConfigReport {
            store: if farrow.is_some() { "farrow" } else { "redis" },
            embedded: farrow.is_some_and(Farrow::is_embedded),
            nodes: map.map_or(1, |m| m.nodes.len()),
            policy: map.map_or("none".into(), |m| m.geometry.policy.to_string()),
            commit: map.map_or("none".into(), |m| m.commit.to_string()),
            homes: map.map_or(0, |m| m.homes.len()),
            block_bytes: map.map_or(0, |m| m.geometry.block_len),
            extent_bytes: map.map_or(0, |m| m.geometry.extent_len),
            workload: settings.workload.clone(),
            mix: BTreeMap::from(mix),
            distribution: settings.distribution.clone(),
            keys: settings.keys,
            key_bytes: KEY_LEN,
            value_size: settings.value_size.clone(),
            value_bytes_mean: round(settings.sizes.mean()),
            threads: settings.threads,
            in_flight: settings.in_flight,
            shape: if settings.rate.is_some() { "open" } else { "closed" },
            rate: settings.rate,
            ops: match settings.length {
                Length::Ops(ops) => Some(ops),
                Length::Time(_) => None,
            },
            seconds: match settings.length {
                Length::Ops(_) => None,
                Length::Time(time) => Some(time.as_secs_f64()),
            },
            warm_up: settings.warm_up.to_string(),
            seed: settings.seed,
            cache_entries: farrow.map_or(0, |f| f.options().cache_entries),
            verify: settings.verify,
        }
    }
}

impl Machine {
    fn here() -> Machine {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            cpu: cpu.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
        }
    }
}

impl OpReport {
    fn new(tally: &KindTally, ops_per_s: f64) -> OpReport {
        let count = tally.count();
        let mean = |sum: u64| if count > 0 { round(sum as f64 / count as f64) } else { 0.0 };
        let latency = &tally.latency_ns;
        let us = |ns: u64| ns as f64 / 1e3;
        let quantile = |q: f64| if count > 0 { us(latency.value_at_quantile(q)) } else { 0.0 };
        OpReport {
            count,
            ops_per_s,
            absent: tally.absent,
            latency_us: Latency {
                mean: if count > 0 { round(latency.mean() / 1e3) } else { 0.0 },
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: if count > 0 { us(latency.max()) } else { 0.0 },
            },
            round_trips: mean(tally.round_trips),
            verbs: Verbs {
                read: mean(tally.foreground.reads),
                write: mean(tally.foreground.writes),
                cas: mean(tally.foreground.cas),
                faa: mean(tally.foreground.faa),
            },
            background_verbs: mean(tally.background.verbs()),
            bytes: Bytes {
                out: mean(tally.foreground.bytes_out + tally.background.bytes_out),
                into: mean(tally.foreground.bytes_in + tally.background.bytes_in),
            },
            conflicts: tally.conflicts,
        }
    }
}

impl MemoryReport {
    fn sum(nodes: &[NodeReport], live_bytes: u64) -> MemoryReport {
        let sum = |field: fn(&NodeReport) -> u64| nodes.iter().map(field).sum::<u64>();
        let stored_bytes = sum(|n| n.stored_bytes);
        MemoryReport {
            live_bytes,
            stored_bytes,
            index_bytes: sum(|n| n.index_bytes),
            open_bytes: sum(|n| n.open_bytes),
            free_bytes: sum(|n| n.free_bytes),
            stored_per_live: if live_bytes > 0 {
                round(stored_bytes as f64 / live_bytes as f64)
            } else {
                0.0
            },
        }
    }
}

/// Asks every node of a cluster what it holds.
///
/// # Errors
/// A node does not answer, or not to the question.
pub(crate) fn inspect(farrow: &Farrow) -> anyhow::Result<Vec<NodeReport>> {
    let ask = |node: NodeSummary| {
        let session = farrow.cluster().session(node.node);
        match session.call(&Request::Stats)? {
            Reply::Stats(stats) => Ok(NodeReport::new(node, &stats)),
            other => bail!(session.confused(&other)),
        }
    };
    farrow.cluster().nodes().into_iter().map(ask).collect()
}

impl NodeReport {
    fn new(node: NodeSummary, stats: &NodeStats) -> NodeReport {
        let mut report = NodeReport {
            node: node.node.0,
            address: node.address,
            transport: node.transport,
            reason: node.reason,
            is_fallback: node.is_fallback,
            memory_bytes: stats.memory_len,
            index_bytes: 0,
            block_bytes: 0,
            stored_bytes: 0,
            open_bytes: 0,
            sealed_bytes: 0,
            free_bytes: 0,
            used_slots: 0,
            slots: 0,
        };
        for segment in &stats.segments {
            report.index_bytes += segment.index_bytes;
            report.block_bytes += segment.block_bytes;
            report.stored_bytes += segment.block_bytes.saturating_sub(segment.free_bytes);
            report.open_bytes += segment.open_bytes;
            report.sealed_bytes += segment.sealed_bytes;
            report.free_bytes += segment.free_bytes;
            report.used_slots += segment.used_slots;
            report.slots += segment.slots;
        }
        report
    }
}

/// To six decimals: more is noise that makes reports hard to compare.
fn round(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}
