//! The report for people.

use crate::report::{NodeReport, OpReport, Report};
use std::fmt::Write;

/// Writes the report as tables.
pub(crate) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_all(report, &mut out);
    out
}

fn write_all(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "{:.2} s, {} operations/s over {}",
        report.elapsed_s,
        whole(report.ops_per_s),
        report.transport
    )?;
    if report.load.keys > 0 {
        let load = &report.load;
        writeln!(
            out,
            "loaded {} keys in {:.2} s, {} a second",
            load.keys,
            load.elapsed_s,
            whole(load.ops_per_s)
        )?;
    }
    write_ops(report, out)?;
    if report.not_started > 0 {
        writeln!(
            out,
            "\n{} operations were due and never started: the store does not keep up with this --rate",
            report.not_started
        )?;
    }
    write_errors(report, out)?;
    if !report.nodes.is_empty() {
        let cache = &report.cache;
        writeln!(out, "\ncache: {} hits, {} misses, {} stale", cache.hits, cache.misses, cache.stale)?;
        if !report.events.is_empty() {
            let events: Vec<_> =
                report.events.iter().map(|(label, count)| format!("{label} {count}")).collect();
            writeln!(out, "events: {}", events.join(", "))?;
        }
        write_memory(report, out)?;
        write_transports(&report.nodes, out)?;
    }
    Ok(())
}

fn write_ops(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:7}{:>11}{:>11} {:>8}{:>8}{:>8}{:>9}{:>9}  {:>6} {:>19} {:>6} {:>7}{:>7}{:>9}",
        "",
        "count",
        "ops/s",
        "p50 us",
        "p90",
        "p99",
        "p99.9",
        "max",
        "RTTs",
        "R/W/C/F",
        "behind",
        "B out",
        "B in",
        "conflicts"
    )?;
    // In the order in which people think of them.
    for kind in ["get", "put", "insert", "delete", "rmw"] {
        match report.ops.get(kind) {
            Some(op) if op.count > 0 => write_op(kind, op, out)?,
            _ => {}
        }
    }
    Ok(())
}

fn write_op(kind: &str, op: &OpReport, out: &mut String) -> std::fmt::Result {
    let l = &op.latency_us;
    let v = &op.verbs;
    let verbs = [v.read, v.write, v.cas, v.faa].map(short).join("/");
    write!(out, "{kind:7}{:>11}{:>11}", op.count, whole(op.ops_per_s))?;
    write!(out, " {:>8.2}{:>8.2}{:>8.2}{:>9.1}{:>9.1}", l.p50, l.p90, l.p99, l.p999, l.max)?;
    write!(out, "  {:>6} {verbs:>19} {:>6}", short(op.round_trips), short(op.background_verbs))?;
    write!(out, " {:>7.0}{:>7.0}{:>9}", op.bytes.out, op.bytes.into, op.conflicts)?;
    if op.absent > 0 {
        write!(out, "  ({} found no key)", op.absent)?;
    }
    writeln!(out)
}

fn write_errors(report: &Report, out: &mut String) -> std::fmt::Result {
    if report.errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nerrors:")?;
    for (label, count) in &report.errors {
        writeln!(out, "  {label} {count}, first: {}", report.error_examples[label])?;
    }
    if report.ended == "full" {
        writeln!(
            out,
            "the run ended early: the memory is full, and this release frees none (--memory, --ops)"
        )?;
    }
    Ok(())
}

fn write_memory(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:7}{:>11}{:>11}{:>11}{:>11}{:>11}{:>12}",
        "memory", "stored", "open", "free", "index", "whole", "slots"
    )?;
    for n in &report.nodes {
        let sizes = [n.stored_bytes, n.open_bytes, n.free_bytes, n.index_bytes, n.memory_bytes].map(mib);
        let share = if n.slots > 0 { 100.0 * n.used_slots as f64 / n.slots as f64 } else { 0.0 };
        writeln!(
            out,
            "{:7}{:>11}{:>11}{:>11}{:>11}{:>11}{share:>10.1} %",
            format!("n{}", n.node),
            sizes[0],
            sizes[1],
            sizes[2],
            sizes[3],
            sizes[4]
        )?;
    }
    let m = &report.memory;
    writeln!(
        out,
        "live {}, stored {}: {:.2} bytes a byte",
        mib(m.live_bytes),
        mib(m.stored_bytes),
        m.stored_per_live
    )
}

/// Each transport once, with its reason, unless the nodes differ.
fn write_transports(nodes: &[NodeReport], out: &mut String) -> std::fmt::Result {
    writeln!(out)?;
    let same = |node: &NodeReport| node.transport == nodes[0].transport && node.reason == nodes[0].reason;
    if nodes.iter().all(same) {
        return writeln!(out, "transport: {} ({})", nodes[0].transport, nodes[0].reason);
    }
    for node in nodes {
        let fallback = if node.is_fallback { ", a fallback" } else { "" };
        writeln!(
            out,
            "transport to n{} {}: {} ({}){fallback}",
            node.node, node.address, node.transport, node.reason
        )?;
    }
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

fn whole(number: f64) -> String {
    format!("{number:.0}")
}

/// Whole numbers as such, others to two decimals.
fn short(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.2}") }
}
