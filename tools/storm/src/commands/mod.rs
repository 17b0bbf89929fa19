//! The command line.

mod chaos;
mod rage;
mod restore;

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};
use farrow_client::{Cluster, DialOptions, LocalClient, Options};
use farrow_config::Config;
use farrow_control::Secret;
use farrow_storm::judge;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

pub fn command() -> Command {
    Command::new("farrow-storm")
        .about("Clients that fight over a few keys and record what they saw")
        .subcommand_required(true)
        .subcommand(rage::command())
        .subcommand(chaos::command())
        .subcommand(restore::command())
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
        Some(("restore", matches)) => restore::run(matches),
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

/// Where the farrow program lies.
fn farrow_flag() -> Arg {
    Arg::new("farrow")
        .long("farrow")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("The farrow program [default: the one beside this]")
}

/// Where to leave what a run writes.
fn dir_flag(what: &str) -> Arg {
    Arg::new("dir")
        .long("dir")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help(format!("Where to leave {what} [default: nowhere, if all goes well]"))
}

/// The directory of [`dir_flag`], made if it is not there; otherwise `temporary`.
fn dir(matches: &ArgMatches, temporary: &TempDir) -> Result<PathBuf> {
    let Some(dir) = matches.get_one::<PathBuf>("dir") else { return Ok(temporary.path().to_owned()) };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    // A coordinator would go on with it.
    let is_used = dir.join("coordinator.state").exists();
    ensure!(!is_used, "{} holds the cluster of an earlier run: name another directory", dir.display());
    Ok(std::path::absolute(dir)?)
}

/// This program, and the farrow program.
fn programs(matches: &ArgMatches) -> Result<(PathBuf, PathBuf)> {
    let program = std::env::current_exe().context("cannot find out where this program lies")?;
    let farrow = matches.get_one::<PathBuf>("farrow").cloned();
    let farrow = farrow.unwrap_or_else(|| program.with_file_name("farrow"));
    ensure!(farrow.exists(), "{} is not there: build it, or say --farrow FILE", farrow.display());
    Ok((program, std::path::absolute(farrow)?))
}

/// How a cluster that this program has started is reached.
fn connect_to(coordinators: &[String], secret: &Secret) -> Result<(LocalClient, DialOptions)> {
    let mut config = Config::default();
    config.cluster.coordinators = coordinators.to_vec();
    config.client.deadline = Duration::from_secs(5);
    let options = dial_options(&config, secret.clone());
    Ok((connect(&config, &options)?, options))
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
