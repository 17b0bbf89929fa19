//! `farrow-storm chaos`: a cluster of processes, faults, and the judgement.

use super::rage::parse_duration;
use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgMatches, value_parser};
use farrow_chaos::{Fault, Settings, net};
use farrow_config::Config;
use farrow_storm::chaos::{Chaos, Mix, Outcome, Summary, run as run_chaos};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Exit status of what cannot run on this machine.
const SKIPPED: u8 = 77;

const EXAMPLES: &str = "\
Examples:
  farrow-storm chaos                                   20 seconds of everything, a seed of the clock
  farrow-storm chaos --seed 7 --seconds 60 --mix b     the same faults again, as far as time allows
  farrow-storm chaos --nodes 5 --spares 2 --only node-kill,pair-kill
  farrow-storm chaos --only coordinator-kill --lease 1s --json
  farrow-storm chaos --partitions --only node-cut,coordinator-cut
  farrow-storm chaos --apart --nodes 3,5 --mix a,b     four runs, and one table of them all

Starts a coordinator, nodes and clients as processes of their own, and kills, stops and
restarts them at random, never more copies at once than may be lost: after a fault that
takes copies it waits until every home has all of its copies again. Clients record every
call before they make it. At the end everything is read back, and the run fails when
  - the calls of all clients are not linearizable, key by key,
  - anything that was acknowledged is lost,
  - redundancy does not come back, or what a dead client left is not cleaned up,
  - a process ends that nobody killed.
How long clients waited for answers is measured and shown, and never fails a run: it says
more about a busy machine than about the store. `within` counts the faults after which
neither reads nor writes stood still for longer than a lease and 50 ms.

Faults: node-kill, pair-kill (two at once, with three copies), node-pause, client-kill,
client-pause, coordinator-kill, coordinator-pause; with --partitions node-cut (a node and
the coordinator do not reach each other) and coordinator-cut (nobody reaches it). Pauses
and cuts take up to three leases.";

pub fn command() -> clap::Command {
    let flag = |name: &'static str| Arg::new(name).long(name);
    let number = |name: &'static str, default: &'static str, range: std::ops::RangeInclusive<u64>| {
        flag(name).value_name("NUMBER").default_value(default).value_parser(value_parser!(u64).range(range))
    };
    clap::Command::new("chaos")
        .about("Run a cluster of processes under random faults and judge what its clients saw")
        .arg(
            flag("seed")
                .value_name("NUMBER")
                .value_parser(value_parser!(u64))
                .help("Where all choices come from [default: of the clock, and printed]"),
        )
        .arg(
            flag("seconds")
                .value_name("SECONDS")
                .default_value("20")
                .value_parser(value_parser!(f64))
                .help("How long faults are begun"),
        )
        .arg(
            number("nodes", "3", 1..=32)
                .value_delimiter(',')
                .help("Nodes that the cluster forms of; several numbers are several runs"),
        )
        .arg(number("spares", "1", 0..=16).help("Nodes beyond those"))
        .arg(number("copies", "3", 1..=8).help("Copies of everything"))
        .arg(number("clients", "4", 1..=64).help("Client processes"))
        .arg(
            flag("mix")
                .value_name("MIX")
                .default_value("a")
                .value_delimiter(',')
                .value_parser(value_parser!(Mix))
                .help("What clients do: a is half reads, b is 95 % reads; several are several runs"),
        )
        .arg(
            flag("rate")
                .value_name("NUMBER")
                .default_value("1000")
                .value_parser(value_parser!(f64))
                .help("Calls a second of each client"),
        )
        .arg(number("keys", "64", 1..=1 << 20).help("Keys that they fight over at a time"))
        .arg(number("value-len", "256", 8..=1 << 18).help("Bytes of a value"))
        .arg(
            flag("lease")
                .value_name("DURATION")
                .default_value("500ms")
                .value_parser(parse_duration)
                .help("Length of a lease"),
        )
        .arg(flag("memory").value_name("SIZE").default_value("96MiB").help("Memory of each node"))
        .arg(
            flag("only")
                .value_name("FAULT,..")
                .value_delimiter(',')
                .value_parser(value_parser!(Fault))
                .help("Kinds of faults [default: all]"),
        )
        .arg(flag("partitions").num_args(0).help(
            "Partitions too: node-cut and coordinator-cut (root only; status 77 where it is not allowed)",
        ))
        .arg(
            flag("etcd").num_args(0).help(
                "Two coordinators with an etcd; faults befall the one that leads (status 77 without etcd)",
            ),
        )
        .arg(flag("namespaced").num_args(0).hide(true).help("This process has a network of its own"))
        .arg(flag("apart").num_args(0).help("One fault at a time, each mended before the next"))
        .arg(super::farrow_flag())
        .arg(super::dir_flag("records and logs"))
        .arg(flag("json").num_args(0).help("Print one object"))
        .after_help(EXAMPLES)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let is_json = matches.get_flag("json");
    if matches.get_flag("etcd") && Command::new("etcd").arg("--version").output().is_err() {
        println!("SKIPPED: there is no etcd (apt-get install etcd-server)");
        return Ok(ExitCode::from(SKIPPED));
    }
    if matches.get_flag("partitions") {
        if !matches.get_flag("namespaced") {
            return Ok(into_namespace());
        }
        net::make().context("cannot make a network")?;
    }
    let temporary = tempfile::Builder::new().prefix("farrow-chaos-").tempdir()?;
    let dir = super::dir(matches, &temporary)?;
    let mut say = |line: String| {
        if !is_json {
            println!("{line}");
        }
    };
    let mut outcomes = Vec::new();
    for chaos in plans(matches, &dir)? {
        std::fs::create_dir_all(&chaos.dir)?;
        match run_chaos(&chaos, &super::connect_to, &mut say) {
            Ok(outcome) => {
                say(in_words(&outcome));
                outcomes.push(outcome);
            }
            Err(error) => {
                let _kept = temporary.keep();
                eprintln!("farrow-storm: seed {}: {error:#}", chaos.seed);
                eprintln!("records and logs are in {}", chaos.dir.display());
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    match &outcomes[..] {
        [one] if is_json => println!("{}", serde_json::to_string_pretty(one)?),
        all if is_json => println!("{}", serde_json::to_string_pretty(all)?),
        [_] => {}
        all => println!("{}", Summary(all)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Becomes this program once more, in a network of its own.
fn into_namespace() -> ExitCode {
    let tried = Command::new("unshare").args(["--net", "ip", "rule", "show"]).output();
    let why = match tried {
        Ok(output) if output.status.success() => {
            let mut unshare = Command::new("unshare");
            unshare.arg("--net").args(std::env::args_os()).arg("--namespaced").exec().to_string()
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("cannot run unshare: {error}"),
    };
    println!("SKIPPED: no network namespace of our own: {why}");
    ExitCode::from(SKIPPED)
}

/// A run for each number of nodes and each mix, in directories of their own where there are several.
fn plans(matches: &ArgMatches, dir: &Path) -> Result<Vec<Chaos>> {
    let nodes: Vec<u64> = matches.get_many("nodes").expect("it has a default").copied().collect();
    let mixes: Vec<Mix> = matches.get_many("mix").expect("it has a default").copied().collect();
    let one = chaos(matches, dir.to_owned())?;
    let each = nodes.iter().flat_map(|nodes| mixes.iter().map(move |mix| (*nodes as usize, *mix)));
    let plan = |(index, (nodes, mix)): (usize, (usize, Mix))| {
        ensure!(one.settings.copies <= nodes, "--copies {} needs as many nodes", one.settings.copies);
        let mut plan = Chaos { mix, seed: one.seed.wrapping_add(index as u64), ..one.clone() };
        plan.settings.nodes = nodes;
        if each.clone().count() > 1 {
            plan.dir = dir.join(format!("{nodes}-nodes-mix-{mix}"));
        }
        Ok(plan)
    };
    each.clone().enumerate().map(plan).collect()
}

fn chaos(matches: &ArgMatches, dir: PathBuf) -> Result<Chaos> {
    let number = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let (mut program, mut farrow) = super::programs(matches)?;
    let of_clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
    let seconds = *matches.get_one::<f64>("seconds").expect("it has a default");
    ensure!((0.1..=86_400.0).contains(&seconds), "--seconds {seconds}: say a number from 0.1 to 86400");
    let rate = *matches.get_one::<f64>("rate").expect("it has a default");
    ensure!((1.0..=1e6).contains(&rate), "--rate {rate}: say a number from 1 to 1000000");
    if matches.get_flag("partitions") {
        // Nodes run as other users, who see neither our directory nor, perhaps, where the program lies.
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o711))?;
        let copy = dir.join("farrow");
        std::fs::copy(&farrow, &copy)?;
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
        let copy_of_this = dir.join("farrow-storm");
        std::fs::copy(&program, &copy_of_this)?;
        std::fs::set_permissions(&copy_of_this, std::fs::Permissions::from_mode(0o755))?;
        (farrow, program) = (copy, copy_of_this);
    }
    Ok(Chaos {
        settings: Settings {
            farrow,
            coordinators: if matches.get_flag("etcd") { 2 } else { 1 },
            nodes: number("nodes") as usize,
            spares: number("spares") as usize,
            copies: number("copies") as usize,
            lease: *matches.get_one("lease").expect("it has a default"),
            memory: matches.get_one::<String>("memory").expect("it has a default").clone(),
            // Fresh keys every two seconds, and room for as many again.
            max_keys: number("keys") * (seconds as u64 + 10),
            restore_bandwidth: Config::default().coordinator.restore_bandwidth,
            is_partitioned: matches.get_flag("partitions"),
        },
        program: program.into(),
        dir,
        clients: number("clients") as usize,
        mix: *matches.get_one("mix").expect("it has a default"),
        rate,
        keys: number("keys") as u32,
        value_len: number("value-len") as usize,
        seed: matches.get_one("seed").copied().unwrap_or_else(of_clock),
        duration: Duration::from_secs_f64(seconds),
        faults: match matches.get_many("only") {
            Some(only) => only.copied().collect(),
            None => Fault::ALL.to_vec(),
        },
        together: !matches.get_flag("apart"),
    })
}

fn in_words(outcome: &Outcome) -> String {
    let errors: Vec<_> = outcome.errors.iter().map(|(label, n)| format!("{n} {label}")).collect();
    let mut text = format!(
        "linearizable: {} operations on {} keys, {} with unknown outcome; {} certain writes, none lost\n\
         failed without effect: {}; nodes passed over though alive: {}",
        outcome.operations,
        outcome.keys,
        outcome.unknown,
        outcome.certain_writes,
        if errors.is_empty() { "none".to_owned() } else { errors.join(", ") },
        outcome.passed_over
    );
    for example in &outcome.examples {
        text += &format!("\n  for example: {example}");
    }
    text
}
