//! `farrow coordinator`: the daemon that says who is in the cluster.

use crate::exit::{Exit, told};
use crate::{log, output};
use anyhow::Result;
use clap::{ArgMatches, Command};
use farrow_coordinator::{CoordinatorServer, Options};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow coordinator --config /etc/farrow/farrow.toml
  farrow coordinator --coordinator-store file:/var/lib/farrow/coordinator.state
  farrow coordinator --coordinator-listen 0.0.0.0:7300 --coordinator-advertise 10.0.0.8:7300 \\
      --coordinator-store etcd:http://10.0.0.8:2379,http://10.0.0.9:2379,http://10.0.0.10:2379

A coordinator keeps the list of memory nodes: it forms the cluster when cluster.nodes_to_form
of them are there, gives leases to nodes and clients, and orders what is to be done when one
is lost. Nodes and clients find it by cluster.coordinators; with that, cluster.nodes is not
needed. It is on nobody's path: while it is away, reads and writes go on, and no lost node is
replaced. Its state outlives it in coordinator.store: a file for one coordinator; etcd for
several, of which one leads and the others take over. Sizes and policy count when the cluster
forms and never again. SIGTERM or SIGINT stops it, which does no harm.";

pub fn command() -> Command {
    let command = Command::new("coordinator")
        .about("Run a coordinator: who is in the cluster, and what to do when a node or a client is lost")
        .after_help(EXAMPLES);
    farrow_config::args(command, &["cluster", "coordinator", "log"])
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let loaded = farrow_config::load(matches, farrow_config::environment())?;
    log::start(&loaded, false);
    let secret = loaded.config.cluster.load_secret()?;
    let server = CoordinatorServer::start(Options::of(&loaded.config), &secret)?;
    output::say(&ready(&loaded.config, &server))?;
    server.wait().map_err(|failed| told(Exit::Other, failed.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// What a person or a script that started the daemon waits for: one line.
fn ready(config: &farrow_config::Config, server: &CoordinatorServer) -> String {
    format!(
        "ready: coordinator of cluster \"{}\" ({}) at {}; {}; state in {}",
        config.cluster.name,
        config.cluster.policy,
        server.advertised(),
        if server.leads() { "leading" } else { "standing by" },
        server.store(),
    )
}
