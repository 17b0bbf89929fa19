//! `farrow bench`: the flags, and a run from them to its report.

use crate::drive::{Outcome, drive};
use crate::farrow::Farrow;
use crate::memory::{self, Memory};
use crate::redis::Redis;
use crate::report::{Report, Where};
use crate::settings::{Length, Settings};
use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use farrow_config::{Commit, Config, Policy, Require, Transport};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow bench                                          YCSB-B over 100,000 keys, three nodes in this process
  farrow bench --workload ycsb-a --value-size 1KiB --threads 2 --seconds 30
  farrow bench --workload get=90,put=5,insert=3,delete=2 --distribution uniform
  farrow bench --rate 50000                             open loop: latency counts from when an operation was due
  farrow bench --commit snapshot                        FUSEE's protocol, to compare with
  farrow bench --cluster-nodes n1:7400,n2:7400,n3:7400  a cluster that runs already
  farrow bench --peer redis:/run/redis.sock --workload get=1  the same loop against a Redis server

Workloads ycsb-a (50 % update), b (5 %), c (reads), d (latest), f (read-modify-write), or shares of get, put, insert,
delete, rmw. Without --cluster-nodes a cluster is started in this process and gone afterwards.
--json prints one object; docs/bench.md describes every field.";

/// The command with all of its flags.
pub fn command() -> Command {
    let number = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("NUMBER")
            .value_parser(value_parser!(u64))
            .default_value(value)
            .help(help)
    };
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let command = Command::new("bench")
        .about("Measure a cluster, or one that is started in this process")
        .arg(
            text("workload", "MIX", "ycsb-a to ycsb-f, or shares such as get=90,put=10")
                .default_value("ycsb-b"),
        )
        .arg(number("keys", "100000", "Keys that are loaded first"))
        .arg(text(
            "distribution",
            "HOW",
            "Which keys are chosen: uniform, zipfian, ranked or latest [default: the workload's]",
        ))
        .arg(
            text("value-size", "SIZE", "64, 1KiB, zipfian (10 B to 1 KiB), or file:RECORDS for their sizes")
                .default_value("64"),
        )
        .arg(number("bench-threads", "1", "Client threads").long("threads"))
        .arg(number("in-flight", "1", "Operations in flight on each thread"))
        .arg(
            text("rate", "PER SECOND", "Open loop: so many operations a second are due, at random times")
                .value_parser(value_parser!(f64)),
        )
        .arg(
            text("ops", "NUMBER", "Measure so many operations, instead of a time")
                .value_parser(value_parser!(u64)),
        )
        .arg(text("seconds", "TIME", "Measure for so long [default: 10s]").value_parser(|t: &str| {
            t.parse::<f64>()
                .map(std::time::Duration::from_secs_f64)
                .or_else(|_| farrow_config::parse_duration(t))
        }))
        .arg(
            text("warm-up", "TIME", "A time, or a number of operations, before that")
                .default_value("1s")
                .value_parser(Length::parse),
        )
        .arg(number("seed", "1", "Where choices come from"))
        .arg(flag("verify", "Compare every value that is read, byte for byte"))
        .arg(flag("no-load", "The keys are there already"))
        .arg(text("peer", "STORE", "Measure redis:/path/to/socket instead, by the same loop"))
        .arg(flag("json", "Print one object"))
        .arg(text("output", "FILE", "Write the report there").value_parser(value_parser!(PathBuf)))
        .arg(flag("quiet", "Show no progress"))
        .arg(
            text(
                "nodes",
                "NUMBER",
                "Nodes of the cluster that is started [default: as many as copies, at least 3]",
            )
            .value_parser(value_parser!(u16).range(1..=32)),
        )
        .arg(
            text("policy", "POLICY", "Redundancy of the cluster that is started")
                .value_parser(value_parser!(Policy)),
        )
        .arg(
            text("commit", "PROTOCOL", "Commit protocol of the cluster that is started")
                .value_parser(["colocated", "snapshot"]),
        )
        .arg(
            text("fabric", "FABRIC", "How memory is reached; anything but auto insists")
                .value_parser(["auto", "shm", "rdma"]),
        )
        .arg(text("memory", "SIZE", "Memory of each node that is started [default: what the run needs]"))
        .after_help(EXAMPLES);
    let own: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    farrow_config::args(command, &["cluster", "fabric", "client"])
        .mut_args(|arg| if own.contains(arg.get_id()) { arg } else { arg.hide_short_help(true) })
}

/// Runs the command. Its status is 1 when an operation failed or a value was wrong.
///
/// # Errors
/// When there is nothing to report.
pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let settings = Settings::from_matches(matches)?;
    let report = match &settings.peer {
        Some(peer) => {
            let redis = Redis::parse(peer)?;
            let (outcome, ()) = drive(&redis, &settings, || Ok(()))?;
            Report { settings: &settings, place: Where::peer(peer), memory: None, outcome }
        }
        None => {
            let mut config = farrow_config::load(matches, farrow_config::environment())?.config;
            let nodes = embed(&mut config, matches, &settings)?;
            let farrow = Farrow::open(&config, nodes)?;
            // A node that was lost takes its own figures with it, not what was measured.
            let (outcome, memory): (Outcome, anyhow::Result<Memory>) =
                drive(&farrow, &settings, || Ok(Memory::of(farrow.cluster())))?;
            if let Err(why) = &memory {
                eprintln!("farrow: memory is not counted: {why}");
            }
            let place = Where::cluster(farrow.cluster(), farrow.is_embedded());
            Report { settings: &settings, place, memory: memory.ok(), outcome }
        }
    };
    let text = if settings.json { format!("{}\n", report.json()) } else { report.text() };
    match &settings.output {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?
        }
        None => print!("{text}"),
    }
    Ok(if report.outcome.tally.error_count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the flags say of a cluster that is to be started; its number of nodes.
fn embed(config: &mut Config, matches: &ArgMatches, settings: &Settings) -> Result<usize> {
    if let Some(policy) = matches.get_one::<Policy>("policy") {
        config.cluster.policy = *policy;
    }
    match matches.get_one::<String>("commit").map(String::as_str) {
        Some("snapshot") => config.cluster.commit = Commit::Snapshot,
        Some(_) => config.cluster.commit = Commit::Colocated,
        None => {}
    }
    match matches.get_one::<String>("fabric").map(String::as_str) {
        Some("shm") => (config.fabric.transport, config.fabric.require) = (Transport::Shm, Require::Shm),
        Some("rdma") => (config.fabric.transport, config.fabric.require) = (Transport::Rdma, Require::Rdma),
        _ => {}
    }
    let copies = config.cluster.policy.copies();
    let nodes = matches.get_one::<u16>("nodes").map_or(copies.max(3), |n| usize::from(*n));
    anyhow::ensure!(nodes >= copies, "{} needs {copies} nodes: give --nodes {copies}", config.cluster.policy);
    if config.cluster.nodes.is_empty() && config.cluster.coordinators.is_empty() {
        let asked =
            matches.get_one::<String>("memory").map(|text| farrow_config::parse_size(text)).transpose();
        let asked = asked.map_err(|why| anyhow::anyhow!("--memory: {why}"))?;
        memory::fit(config, nodes, settings, asked)?;
    }
    Ok(nodes)
}
