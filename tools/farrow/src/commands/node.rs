//! `farrow node`: the memory node daemon.

mod managed;

use crate::exit::{Exit, told};
use crate::{human, log, output};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use farrow_control::with_port;
use farrow_node::{Daemon, Ended};
use std::process::ExitCode;

pub use managed::{Answer, Begin, Join, KEEP};

const EXAMPLES: &str = "\
Examples:
  farrow node --config /etc/farrow/farrow.toml
  farrow node --cluster-secret-file farrow.secret --cluster-policy replicate:1 --node-memory 8GiB
  farrow node --node-listen 0.0.0.0:7400 --node-advertise 10.0.0.1:7400
  farrow node --cluster-coordinators 10.0.0.9:7300 --node-listen 10.0.0.1:7400

With cluster.coordinators a node registers there and is replaced when it is lost; one that
comes back is a spare. Without, every node needs the same [cluster] section with the same
cluster.nodes, and without that a node is a cluster by itself. The node takes no part in GET or PUT: it registers memory, says
who may reach it, and hands out space. SIGTERM or SIGINT stops it; its memory is gone
then.";

pub fn command() -> Command {
    let command = Command::new("node")
        .about("Run a memory node")
        .arg(
            Arg::new("managed")
                .long("managed")
                .num_args(0)
                .hide(true)
                .help("Take orders from the program that started this one, and end with it"),
        )
        .after_help(EXAMPLES);
    farrow_config::args(command, &["cluster", "node", "fabric", "log"])
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    if matches.get_flag("managed") {
        return managed::run();
    }
    let loaded = farrow_config::load(matches, farrow_config::environment())?;
    log::start(&loaded, false);
    let secret = loaded.config.cluster.load_secret()?;
    let mut config = loaded.config.clone();
    loop {
        let daemon = Daemon::start(&config, &secret)?;
        output::say(&ready(&daemon))?;
        // Whoever comes back is found where it was, also if the system chose the port.
        config.node.listen = with_port(&config.node.listen, daemon.address().port());
        match ended(daemon)? {
            Ended::Stopped => return Ok(ExitCode::SUCCESS),
            // What its memory held is on other nodes by now: it starts anew, with nothing.
            Ended::Deposed => config.node.reformat = config.node.memory_file.is_some(),
        }
    }
}

fn ended(daemon: Daemon) -> Result<Ended> {
    daemon.wait().map_err(|failed| told(Exit::Other, failed.to_string()))
}

/// What a person or a script that started the daemon waits for: one line.
fn ready(daemon: &Daemon) -> String {
    let stats = daemon.stats();
    let map = daemon.map();
    format!(
        "ready: node {} of {} in cluster \"{}\" ({}) at {}; {} of memory ({}); {}",
        daemon.node(),
        map.nodes.len(),
        map.name,
        map.geometry.policy,
        daemon.advertised(),
        human::bytes(stats.memory_len),
        stats.pages,
        stats.transports.join("; "),
    )
}

fn serve(daemon: Daemon) -> Result<ExitCode> {
    ended(daemon)?;
    Ok(ExitCode::SUCCESS)
}
