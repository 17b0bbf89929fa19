//! What a prediction looks like: a document with tables, and a plot of each figure.

use super::plot::{Panel, Series, svg};
use super::{Figure, File, Measured, Prediction, Program, Protocol, Workload};
use farrow_fabric_sim::CostModel;
use std::fmt::Write;

/// The document's name.
pub const DOCUMENT: &str = "fusee-curves.md";
/// How the files are made again, in the first line of each.
/// No two hyphens: XML has none within comments.
const MADE_BY: &str = "Made by: farrow sim predict (all figures, written to docs/bench). Do not edit.";

const PAPER: &str = "FUSEE, published";
const TEXT: &str = include_str!("report.md");

/// The plot of a figure.
pub fn plot(prediction: &Prediction, figure: Figure) -> File {
    let unit = if figure == Figure::Latency { "median latency (us)" } else { "throughput (Mops)" };
    let panel = |workload: &Workload| {
        let mut series: Vec<_> = figure
            .protocols()
            .iter()
            .map(|protocol| {
                let at = |value| {
                    (f64::from(value), shown(measured(prediction, figure, *workload, *protocol, value)))
                };
                let points = figure.values().into_iter().map(at).collect();
                Series { name: protocol.name(), colour: colour(*protocol), is_marks: false, points }
            })
            .collect();
        let published = |value| Some((f64::from(value), figure.published(*workload, value)?));
        let points = figure.values().into_iter().filter_map(published).collect();
        series.push(Series { name: PAPER, colour: "#222", is_marks: true, points });
        Panel {
            title: title(*workload).to_owned(),
            x_label: figure.axis().to_owned(),
            y_label: unit.to_owned(),
            x_ticks: figure.values().into_iter().map(f64::from).collect(),
            series,
        }
    };
    let panels: Vec<_> = figure.workloads().iter().map(panel).collect();
    File { name: plot_name(figure), text: svg(MADE_BY, &panels) }
}

fn plot_name(figure: Figure) -> String {
    format!("fusee-fig{}.svg", figure.number())
}

fn colour(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OneIndex => "#c2571a",
        Protocol::Snapshot => "#7a4fa3",
        Protocol::Colocated => "#1b7f5c",
    }
}

fn title(workload: Workload) -> &'static str {
    match workload {
        Workload::A => "YCSB A: half reads, half updates",
        Workload::B => "YCSB B: 95 % reads",
        Workload::C => "reads (YCSB C)",
        Workload::Updates => "updates",
    }
}

/// What a figure shows of a point.
fn shown(measured: &Measured) -> f64 {
    match measured.point.program {
        Program::Throughput => measured.mops,
        Program::Latency => measured.p50_us,
    }
}

fn measured(
    prediction: &Prediction,
    figure: Figure,
    workload: Workload,
    protocol: Protocol,
    value: u32,
) -> &Measured {
    prediction.at(&figure.point(workload, protocol, value))
}

/// The document: the text with its tables.
pub fn document(prediction: &Prediction) -> File {
    let mut text = format!("<!-- {MADE_BY} -->\n");
    for part in TEXT.split_inclusive('\n') {
        match part.trim_end() {
            "{constants}" => text.push_str(&constants()),
            line => match figure_of(line) {
                Some(figure) if prediction.figures.contains(&figure) => tables(&mut text, prediction, figure),
                Some(_) => text.push_str("Not run.\n"),
                None => text.push_str(part),
            },
        }
    }
    File { name: DOCUMENT.to_owned(), text }
}

/// `{figure 13}`
fn figure_of(line: &str) -> Option<Figure> {
    Figure::numbered(line.strip_prefix("{figure ")?.strip_suffix('}')?.parse().ok()?)
}

fn constants() -> String {
    let CostModel { one_way_ns, jitter_ns, verb_ns, atomic_ns, byte_ps, .. } = CostModel::CONNECTX3;
    let rows = [
        (
            format!("{one_way_ns} ns + at most {jitter_ns} ns"),
            "one way, client to node or back",
            "a look-up without the cache is one round trip longer: 7 us instead of 5 (Fig. 19)",
        ),
        (
            format!("{byte_ps} ps"),
            "a byte of payload, in either direction of a node's wire, each a queue of its own",
            "9.3 M SEARCHes/s of 1280 B from two nodes (Fig. 11): 5.95 GB/s a node",
        ),
        (
            format!("{verb_ns} ns"),
            "a READ or WRITE in the engine of a node's NIC",
            "14.5 M SEARCHes/s of 256 B pairs, 3 READs each, from two nodes (Fig. 12)",
        ),
        (
            format!("{atomic_ns} ns"),
            "a CAS in that engine, which does nothing else meanwhile",
            "2.0 M UPDATEs/s on two nodes (Fig. 11): one CAS and 6 other verbs each",
        ),
        (
            format!("{} ns", super::THROUGHPUT.burst_ns),
            "a client's processor, for everything that an operation posts at once",
            "see below (Fig. 14)",
        ),
        (
            format!("{} ns", super::THROUGHPUT.post_ns),
            "a client's processor, for each verb",
            "see below (Fig. 14)",
        ),
        (
            format!("{} ns", super::LATENCY.burst_ns),
            "the same for the program that measures latency; nothing for each verb",
            "SEARCH takes 5 us (Fig. 10), of which 2.35 us are a round trip with its READs",
        ),
    ];
    let mut table =
        "| constant | what it is the cost of | chosen so that |\n| --- | --- | --- |\n".to_owned();
    for (constant, of, so_that) in rows {
        let _ = writeln!(table, "| {constant} | {of} | {so_that} |");
    }
    table
}

fn tables(out: &mut String, prediction: &Prediction, figure: Figure) {
    let _ = writeln!(out, "![Fig. {}]({})", figure.number(), plot_name(figure));
    for workload in figure.workloads() {
        let unit = if figure == Figure::Latency { "median, us" } else { "Mops" };
        let _ = write!(out, "\n**{}**, {unit}\n\n| {} | paper |", title(*workload), figure.axis());
        for (i, protocol) in figure.protocols().iter().enumerate() {
            let _ = write!(out, " {} |{}", protocol.name(), if i == 0 { " ratio to paper |" } else { "" });
        }
        let relative = if figure == Figure::Replicas { 1 + figure.protocols().len() } else { 0 };
        if relative > 0 {
            out.push_str(" paper, to 1 copy |");
            figure.protocols().iter().for_each(|p| out.push_str(&format!(" {}, to 1 copy |", p.name())));
        }
        out.push_str(" busiest |\n| ---: | ---: |");
        out.push_str(&" ---: |".repeat(figure.protocols().len() + 1 + relative));
        out.push_str(" --- |\n");
        for value in figure.values() {
            out.push_str(&row(prediction, figure, *workload, value));
        }
    }
    details(out, prediction, figure);
}

/// A row of a table, with its end of line.
pub fn row(prediction: &Prediction, figure: Figure, workload: Workload, value: u32) -> String {
    let published = figure.published(workload, value);
    let cell = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.2}"));
    let mut out = format!("| {value} | {} |", cell(published));
    let all: Vec<_> =
        figure.protocols().iter().map(|p| measured(prediction, figure, workload, *p, value)).collect();
    for (i, m) in all.iter().enumerate() {
        let _ = write!(out, " {:.2} |", shown(m));
        if i == 0 {
            let _ = write!(out, " {} |", cell(published.map(|p| shown(m) / p)));
        }
    }
    if figure == Figure::Replicas {
        let first = figure.published(workload, 1);
        let _ = write!(out, " {} |", cell(published.zip(first).map(|(p, first)| p / first)));
        for (m, protocol) in all.iter().zip(figure.protocols()) {
            let first = shown(measured(prediction, figure, workload, *protocol, 1));
            let _ = write!(out, " {:.2} |", shown(m) / first);
        }
    }
    let mut busiest: Vec<_> = all.iter().map(|m| format!("{} {:.0} %", m.busiest, m.busy * 100.0)).collect();
    busiest.dedup();
    let _ = writeln!(out, " {} |", busiest.join("; "));
    out
}

/// What operations cost at the right end of the figure.
fn details(out: &mut String, prediction: &Prediction, figure: Figure) {
    let last = *figure.values().last().expect("an axis has values");
    let _ = write!(
        out,
        "\nAn operation at the right end ({last} {}): round trips, verbs and CASes among them, payload, latency\n\n\
         | workload | protocol | round trips | verbs | CAS | bytes out | bytes in | p50 us | p99 us |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        figure.axis()
    );
    for workload in figure.workloads() {
        for protocol in figure.protocols() {
            let m = measured(prediction, figure, *workload, *protocol, last);
            let _ = writeln!(
                out,
                "| {workload:?} | {} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.1} | {:.1} |",
                protocol.name(),
                m.round_trips,
                m.verbs,
                m.atomics,
                m.bytes_out,
                m.bytes_in,
                m.p50_us,
                m.p99_us
            );
        }
    }
}
