//! `farrow demo`: a cluster on this machine, real data, and what happened.

mod chaos;
mod kept;
mod nodes;
mod pulse;
mod records;
mod report;
mod sizes;
mod workload;

use crate::connect::Reach;
use crate::exit::{Exit, told};
use crate::{human, log, output};
use anyhow::{Context, Result};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use farrow_client::{Cluster, Secret};
use farrow_config::{Config, Loaded, Policy, Require, Transport};
use kept::Home;
use nodes::Nodes;
use records::Records;
use report::{Memory, Report};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long faults are begun, unless somebody says.
const CHAOS: Duration = Duration::from_secs(20);

const EXAMPLES: &str = "\
Examples:
  farrow demo                             five nodes, three copies of everything, three seconds
  farrow demo --file packages.jsonl.gz    your own records: objects with \"key\" and \"value\"
  farrow demo --nodes 3 --policy replicate:2 --seconds 10
  farrow demo --chaos                     kills nodes meanwhile, and shows that nothing is lost
  farrow demo --keep                      leaves the nodes running and says how to talk to them
  farrow demo --stop                      stops them

Starts memory nodes as processes of their own, loads every record, reads every
record back and compares it byte for byte, and then runs 95 % GET and 5 % PUT with
zipfian key choice, where every value that is read is compared too. It needs no
configuration and reads none; nothing of it is left behind without --keep.";

pub fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name);
    Command::new("demo")
        .about("Start a cluster on this machine, load real data, run a workload, show what happened")
        .arg(
            flag("nodes")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(u16).range(1..=32))
                .default_value("5")
                .help("Memory nodes to start"),
        )
        .arg(
            flag("policy")
                .value_name("POLICY")
                .value_parser(clap::value_parser!(Policy))
                .default_value("replicate:3")
                .help("Redundancy"),
        )
        .arg(
            flag("file").value_name("FILE").value_parser(clap::value_parser!(PathBuf)).help(
                "Records as JSON lines, plain or gzipped [default: a built-in sample of Debian packages]",
            ),
        )
        .arg(
            flag("seconds")
                .value_name("SECONDS")
                .value_parser(clap::value_parser!(f64))
                .default_value("3")
                .help("How long to run the mixed workload"),
        )
        .arg(
            flag("threads")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(u16).range(1..=64))
                .default_value("1")
                .help("Client threads of the workload"),
        )
        .arg(
            flag("fabric")
                .value_name("FABRIC")
                .value_parser(["auto", "shm", "rdma"])
                .default_value("auto")
                .help("How memory is reached; anything but auto insists"),
        )
        .arg(flag("keep").num_args(0).help("Leave the nodes running, with the data in them"))
        .arg(flag("stop").num_args(0).exclusive(true).help("Stop the nodes that --keep left running"))
        .arg(flag("chaos").num_args(0).conflicts_with_all(["keep", "fabric"]).help(
            "Kill nodes and the coordinator while clients work (20 seconds, unless --seconds says otherwise)",
        ))
        .arg(flag("json").num_args(0).help("Print one object"))
        .after_help(EXAMPLES)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    log::start(&Loaded::from_config(Config::default()), true);
    if matches.get_flag("stop") {
        return kept::stop();
    }
    let is_json = matches.get_flag("json");
    let say = |line: String| if is_json { Ok(()) } else { output::say(&line) };
    let seconds = *matches.get_one::<f64>("seconds").expect("has a default");
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(told(Exit::Usage, format!("--seconds {seconds}: say a number from 0 to 86400")));
    }
    let duration = Duration::from_secs_f64(seconds);
    let home = matches.get_flag("keep").then(Home::claim).transpose()?;
    let records = Records::read(matches.get_one::<PathBuf>("file").map(PathBuf::as_path))?;
    say(records.to_string())?;

    if matches.get_flag("chaos") {
        let is_chosen = matches.value_source("seconds") == Some(ValueSource::CommandLine);
        let duration = if is_chosen { duration } else { CHAOS };
        // Clients look at each answer and mostly read: they do not write as much as the workload otherwise.
        let config = config(matches, &records, Duration::from_secs(1))?;
        return chaos::run(matches, config, &records, duration);
    }
    let config = config(matches, &records, duration)?;
    let secret = Secret::generate().context("the system has no randomness")?;
    let mut nodes = Nodes::start(&config, *matches.get_one::<u16>("nodes").expect("has a default"), &secret)?;
    let mut client_config = config;
    client_config.cluster.nodes = nodes.addresses().to_vec();
    let reach = Reach::of(Loaded::from_config(client_config), secret, "demo");
    let cluster = reach.cluster().map_err(|error| nodes.explain(error))?;
    say(started(&cluster, &reach))?;

    let mut report = Report::new(&cluster, &reach.loaded.config, &records);
    let outcome = measure(&reach, &cluster, &records, duration, matches, &mut report, &say);
    outcome.map_err(|error| nodes.explain(error))?;
    match is_json {
        true => output::json(&report.json(home.is_some()))?,
        false => output::print(&report.text())?,
    }
    drop(cluster);
    match home {
        Some(home) => {
            home.keep(&mut nodes, &reach)?;
            say(home.how_to())?;
        }
        None => {
            nodes.stop();
            say("stopped; nothing is left behind (--keep leaves the nodes running)".to_owned())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Load, read back, mixed workload.
fn measure(
    reach: &Reach,
    cluster: &Cluster,
    records: &Records,
    duration: Duration,
    matches: &ArgMatches,
    report: &mut Report,
    say: &dyn Fn(String) -> std::io::Result<()>,
) -> Result<()> {
    let count = human::plural(records.len() as u64, "record");
    let load = workload::load(cluster, &reach.options, records)?;
    say(format!("loaded {count} in {}", human::nanos(load.elapsed.as_nanos() as u64)))?;
    report.add("load", load);
    report.loaded(Memory::of(cluster)?);
    let back = workload::read_back(cluster, &reach.options, records)?;
    let time = human::nanos(back.elapsed.as_nanos() as u64);
    say(format!("read {count} back in {time}: byte for byte the same"))?;
    report.add("read back", back);
    if !duration.is_zero() {
        let threads = *matches.get_one::<u16>("threads").expect("has a default");
        for (name, phase) in workload::mixed(cluster, &reach.options, records, duration, threads.into())? {
            report.add(name, phase);
        }
        report.ran(Memory::of(cluster)?);
    }
    Ok(())
}

fn config(matches: &ArgMatches, records: &Records, duration: Duration) -> Result<Config> {
    let nodes = *matches.get_one::<u16>("nodes").expect("has a default");
    let policy = *matches.get_one::<Policy>("policy").expect("has a default");
    if policy.copies() > usize::from(nodes) {
        let todo = format!("--nodes {} or --policy replicate:{nodes}", policy.copies());
        return Err(told(Exit::Usage, format!("{policy} needs {} nodes: say {todo}", policy.copies())));
    }
    let mut config = Config::default();
    config.cluster.name = "demo".to_owned();
    config.cluster.policy = policy;
    config.node.listen = "127.0.0.1:0".to_owned();
    (config.fabric.transport, config.fabric.require) =
        match matches.get_one::<String>("fabric").map(String::as_str) {
            Some("shm") => (Transport::Shm, Require::Shm),
            Some("rdma") => (Transport::Rdma, Require::Rdma),
            _ => (Transport::Auto, Require::None),
        };
    sizes::fit(&mut config, nodes.into(), records, duration, matches.get_flag("keep"))?;
    Ok(config)
}

fn started(cluster: &Cluster, reach: &Reach) -> String {
    let config = &reach.loaded.config;
    let nodes = cluster.nodes();
    let mut choices: Vec<_> =
        nodes.iter().map(|node| format!("{} ({})", node.transport, node.reason)).collect();
    choices.dedup();
    format!(
        "started {} of {}, {}; memory is reached by {}",
        human::plural(nodes.len() as u64, "memory node"),
        human::bytes(config.node.memory),
        config.cluster.policy,
        choices.join("; ")
    )
}
