//! `farrow bench`: its flags, and a run.

use crate::drive::drive;
use crate::farrow::Farrow;
use crate::redis::Redis;
use crate::report::{Report, inspect};
use crate::settings::{Length, Settings};
use crate::sizing;
use crate::table::render;
use anyhow::{Context, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use farrow_config::{Commit, Config, Policy, Require, Transport, environment, parse_size};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const ABOUT: &str =
    "Measures a cluster: latency, round trips, verbs, bytes and memory of each kind of operation";
const LONG_ABOUT: &str = "Measures a cluster: latency, round trips, verbs, bytes and memory of each kind of operation.\n\n\
    Without cluster.nodes a cluster is started in this process. docs/bench.md describes the method and every field \
    of --json. The exit status is 1 when any operation had an error.";

const SECTIONS: &[&str] = &["cluster", "node", "fabric", "client", "log"];

/// The command and its flags.
pub fn command() -> Command {
    let command = Command::new("bench").about(ABOUT).long_about(LONG_ABOUT);
    let command = farrow_config::args(command, SECTIONS);
    let command = command.next_help_heading("Load").args(load_args());
    let command = command.next_help_heading("Embedded cluster").args(cluster_args());
    command.next_help_heading("Report").args([
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("Print one JSON object instead of tables"),
        Arg::new("output")
            .long("output")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help("Write the JSON object to this file, whatever is printed"),
        Arg::new("quiet").long("quiet").action(ArgAction::SetTrue).help("Show no progress"),
    ])
}

fn load_args() -> Vec<Arg> {
    let number = |name: &'static str, flag: &'static str, default: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(flag).value_name("N").default_value(default).help(help);
        arg.value_parser(value_parser!(u64))
    };
    vec![
        Arg::new("workload")
            .long("workload")
            .value_name("MIX")
            .default_value("ycsb-a")
            .help("ycsb-a, -b, -c, -d or -f, or a ratio such as get=90,put=5,insert=3,delete=2"),
        number("keys", "keys", "100000", "Keys that are loaded before"),
        Arg::new("distribution")
            .long("distribution")
            .value_name("NAME")
            .help("uniform, zipfian, latest or ranked, with an exponent if wanted: zipfian:0.9 [default: the workload's]"),
        Arg::new("value-size")
            .long("value-size")
            .value_name("SIZE")
            .default_value("64")
            .help("Bytes (64, 4KiB), zipfian (10 B to 1 KiB), or file:PATH for those of a file of records"),
        number("bench-threads", "threads", "1", "Threads, each with a client of its own"),
        number("in-flight", "in-flight", "1", "Operations in flight on each thread"),
        Arg::new("rate")
            .long("rate")
            .value_name("OPS")
            .value_parser(value_parser!(f64))
            .help("Operations a second of all threads, at random times whether or not earlier ones have ended"),
        Arg::new("ops")
            .long("ops")
            .value_name("N")
            .value_parser(value_parser!(u64))
            .conflicts_with("seconds")
            .help("Operations to measure, of all threads"),
        Arg::new("seconds")
            .long("seconds")
            .value_name("TIME")
            .value_parser(seconds)
            .help("How long to measure: 10, 10s, 500ms [default: 10s]"),
        Arg::new("warm-up")
            .long("warm-up")
            .value_name("TIME|N")
            .default_value("1s")
            .value_parser(Length::parse)
            .help("How long to run before anything is measured, or how many operations"),
        number("seed", "seed", "1", "The same seed gives each thread the same operations"),
        Arg::new("verify")
            .long("verify")
            .action(ArgAction::SetTrue)
            .help("Check every byte of every value that is read"),
        Arg::new("no-load")
            .long("no-load")
            .action(ArgAction::SetTrue)
            .help("The keys are there, from an earlier run with this seed and these sizes"),
        Arg::new("peer")
            .long("peer")
            .value_name("ADDRESS")
            .help("Measure another store with the same load: redis:/path/of/socket or redis:host:port"),
    ]
}

fn cluster_args() -> Vec<Arg> {
    let words = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    vec![
        words("nodes", "N", "Memory nodes to start in this process [default: 3]")
            .value_parser(value_parser!(u64).range(1..=64)),
        words("policy", "POLICY", "Short for --cluster-policy"),
        words("commit", "NAME", "Short for --cluster-commit").value_parser(Commit::NAMES.to_vec()),
        words("fabric", "NAME", "shm or rdma: this and nothing else; auto: whatever is possible")
            .value_parser(Transport::NAMES.to_vec()),
        words("memory", "SIZE", "Memory of each node [default: what the run needs]"),
        words("cache-entries", "N", "Short for --client-cache-entries").value_parser(value_parser!(u64)),
    ]
}

/// Reads `10`, `10s` or `500ms`.
fn seconds(text: &str) -> Result<Duration, String> {
    let time = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => farrow_config::parse_duration(text)?,
    };
    if time.is_zero() { Err("there is nothing to measure in no time".into()) } else { Ok(time) }
}

/// Runs the benchmark that the flags describe, and prints its report.
///
/// # Errors
/// What makes a run impossible, in words. Errors of operations are part of the report; then the exit status is 1.
pub fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let settings = Settings::from_matches(matches)?;
    let report = measure(matches, &settings)?;
    let json = || serde_json::to_string_pretty(&report).context("cannot write the report as JSON");
    if let Some(path) = &settings.output {
        std::fs::write(path, json()? + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = if settings.json { json()? + "\n" } else { render(&report) };
    // A reader that has seen enough is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn measure(matches: &ArgMatches, settings: &Settings) -> anyhow::Result<Report> {
    if let Some(peer) = &settings.peer {
        let (outcome, nodes) = drive(&Redis::parse(peer)?, settings, || Ok(Vec::new()))?;
        return Ok(Report::new(settings, None, &outcome, nodes));
    }
    let (config, nodes) = cluster(matches, settings)?;
    let farrow = Farrow::open(&config, nodes)?;
    let (outcome, nodes) = drive(&farrow, settings, || inspect(&farrow))?;
    Ok(Report::new(settings, Some(&farrow), &outcome, nodes))
}

/// The configuration of the cluster, and how many nodes to start if it names none.
fn cluster(matches: &ArgMatches, settings: &Settings) -> anyhow::Result<(Config, usize)> {
    let loaded = farrow_config::load(matches, environment())?;
    let is_chosen = |section, name| *loaded.origin(section, name) != farrow_config::Origin::Default;
    let (has_memory, has_keys) = (is_chosen("node", "memory"), is_chosen("cluster", "max_keys"));
    let mut config = loaded.config.clone();
    let text = |name: &str| matches.get_one::<String>(name);
    if let Some(name) = text("fabric") {
        (config.fabric.transport, config.fabric.require) = match name.as_str() {
            "shm" => (Transport::Shm, Require::Shm),
            "rdma" => (Transport::Rdma, Require::Rdma),
            _ => (Transport::Auto, Require::None),
        };
    }
    if let Some(entries) = matches.get_one::<u64>("cache-entries") {
        config.client.cache_entries = *entries;
    }
    if !config.cluster.nodes.is_empty() {
        for flag in ["nodes", "policy", "commit", "memory"] {
            if matches.contains_id(flag) {
                bail!(
                    "--{flag} is about a cluster that is started here, but cluster.nodes names one ({})",
                    config.cluster.nodes.join(", ")
                );
            }
        }
        config.validate()?;
        return Ok((config, 0));
    }
    ensure!(settings.load, "--no-load needs a cluster that holds the keys: set cluster.nodes");
    let nodes = matches.get_one::<u64>("nodes").map_or(3, |nodes| *nodes as usize);
    if let Some(policy) = text("policy") {
        config.cluster.policy = policy.parse::<Policy>()?;
    }
    if let Some(name) = text("commit") {
        config.cluster.commit = if name == "snapshot" { Commit::Snapshot } else { Commit::Colocated };
    }
    if let Some(memory) = text("memory") {
        config.node.memory =
            parse_size(memory).map_err(|why| anyhow::anyhow!("--memory is `{memory}`: {why}"))?;
    }
    let copies = config.cluster.policy.copies();
    ensure!(
        copies <= nodes,
        "policy {} needs {copies} nodes and --nodes is {nodes}: start more, or keep fewer copies",
        config.cluster.policy
    );
    if !has_keys {
        config.cluster.max_keys = settings.keys + settings.expected_inserts();
    }
    let has_memory = has_memory || text("memory").is_some();
    let said = sizing::choose(settings, &mut config, nodes, has_memory, sizing::available())?;
    if let Some(said) = said {
        eprintln!("note: {said}");
    }
    config.validate()?;
    Ok((config, nodes))
}
