//! The command line.

mod chaos;
mod rage;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};
use farrow_client::{Cluster, DialOptions, LocalClient, Options, Preference, Require};
use farrow_config::Config;
use farrow_control::Secret;
use farrow_storm::judge;
use std::ffi::OsString;
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
        .subcommand(
            Command::new("leash")
                .hide(true)
                .about("Become a program that ends with the process that started this one")
                .arg(Arg::new("user").long("user").value_parser(value_parser!(u32)))
                .arg(Arg::new("parent").required(true).value_parser(value_parser!(u32)))
                .arg(
                    Arg::new("program")
                        .required(true)
                        .num_args(1..)
                        .trailing_var_arg(true)
                        .allow_hyphen_values(true)
                        .value_parser(value_parser!(OsString)),
                ),
        )
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
        Some(("leash", matches)) => {
            let user = matches.get_one("user").map(|user| (*user, vec!["leash".into()]));
            let parent = *matches.get_one("parent").expect("required");
            let program: Vec<OsString> = matches.get_many("program").expect("required").cloned().collect();
            match farrow_chaos::leash(user, parent, &program[0], &program[1..])? {}
        }
        _ => unreachable!("clap asks for a subcommand"),
    }
}

/// How nodes are dialled.
fn dial_options(config: &Config, secret: Secret) -> DialOptions {
    DialOptions {
        rdma: farrow_client::Rdma::new(
            config.fabric.device.clone(),
            config.fabric.chosen_port(),
            config.fabric.chosen_gid_index(),
            config.fabric.queue_depth,
            config.fabric.inline,
        ),
        secret,
        preference: match config.fabric.transport {
            farrow_config::Transport::Auto => Preference::Auto,
            farrow_config::Transport::Rdma => Preference::Rdma,
            farrow_config::Transport::Shm => Preference::Shm,
        },
        require: match config.fabric.require {
            farrow_config::Require::None => Require::None,
            farrow_config::Require::Rdma => Require::Rdma,
            farrow_config::Require::Shm => Require::Shm,
        },
        who: "farrow-storm".into(),
        timeout: Duration::from_secs(5),
    }
}

/// A client of this thread.
fn connect(config: &Config, options: &DialOptions) -> Result<LocalClient> {
    let cluster = Cluster::connect_through(&config.cluster.coordinators, &config.cluster.nodes, options)?;
    Ok(cluster.local_client(&Options { deadline: config.client.deadline, ..Options::default() })?)
}
