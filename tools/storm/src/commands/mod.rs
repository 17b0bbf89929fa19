//! The command line.

mod chaos;
mod rage;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};
use farrow_client::{Cluster, DialOptions, LocalClient, Options};
use farrow_config::Config;
use farrow_control::Secret;
use farrow_storm::judge;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub fn command() -> Command {
    Command::new("farrow-storm")
        .about("Clients that fight over a few keys and record what they saw")
        .subcommand_required(true)
        .subcommand(rage::command())
        .subcommand(chaos::command())
        .subcommand(
            Command::new("judge").about("Check the records of all clients for linearizability").arg(
                Arg::new("records")
                    .required(true)
                    .num_args(1..)
                    .value_parser(value_parser!(PathBuf))
                    .help("Records"),
            ),
        )
        .subcommand(farrow_chaos::leash_command())
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some(("rage", matches)) => rage::run(matches),
        Some(("chaos", matches)) => chaos::run(matches),
        Some(("judge", matches)) => {
            let records: Vec<PathBuf> = matches.get_many("records").expect("required").cloned().collect();
            let verdict = judge(&records)?;
            println!(
                "linearizable: {} operations on {} keys, {} with unknown outcome",
                verdict.operations, verdict.keys, verdict.unknown
            );
            Ok(ExitCode::SUCCESS)
        }
        Some(("leash", matches)) => match farrow_chaos::run_leash(matches)? {},
        _ => unreachable!("clap asks for a subcommand"),
    }
}

/// How nodes are dialled.
fn dial_options(config: &Config, secret: Secret) -> DialOptions {
    DialOptions::of(config, secret, "farrow-storm", Duration::from_secs(5))
}

/// A client of this thread.
fn connect(config: &Config, options: &DialOptions) -> Result<LocalClient> {
    let cluster = Cluster::connect_through(&config.cluster.coordinators, &config.cluster.nodes, options)?;
    Ok(cluster.local_client(&Options { deadline: config.client.deadline, ..Options::default() })?)
}
