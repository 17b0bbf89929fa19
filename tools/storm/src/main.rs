//! `farrow-storm`: one process of a storm, or the judgement over its records.

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command, value_parser};
use farrow_client::{Cluster, DialOptions, Options, Preference, Require};
use farrow_storm::{Storm, judge, rage};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

fn main() -> Result<()> {
    let rage = Command::new("rage")
        .about("Run one client against a cluster and record its calls")
        .arg(
            Arg::new("client")
                .long("client")
                .required(true)
                .value_parser(value_parser!(u32))
                .help("Number of this client, its alone"),
        )
        .arg(
            Arg::new("record")
                .long("record")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Where to write the record"),
        )
        .arg(
            Arg::new("keys")
                .long("keys")
                .default_value("4")
                .value_parser(value_parser!(u32).range(1..))
                .help("Keys to fight over"),
        )
        .arg(
            Arg::new("operations")
                .long("operations")
                .default_value("2000")
                .value_parser(value_parser!(u64))
                .help("Operations to make"),
        )
        .arg(
            Arg::new("value-len")
                .long("value-len")
                .default_value("64")
                .value_parser(value_parser!(usize))
                .help("Bytes of a value"),
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .default_value("1")
                .value_parser(value_parser!(u64))
                .help("Where choices come from"),
        );
    let command = Command::new("farrow-storm")
        .about("Clients that fight over a few keys and record what they saw")
        .subcommand_required(true)
        .subcommand(farrow_config::args(rage, &["cluster", "fabric", "client"]))
        .subcommand(
            Command::new("judge").about("Check the records of all clients for linearizability").arg(
                Arg::new("records")
                    .required(true)
                    .num_args(1..)
                    .value_parser(value_parser!(PathBuf))
                    .help("Records"),
            ),
        );
    match command.get_matches().subcommand() {
        Some(("rage", matches)) => run_client(matches),
        Some(("judge", matches)) => {
            let records: Vec<PathBuf> = matches.get_many("records").expect("required").cloned().collect();
            let verdict = judge(&records)?;
            println!(
                "linearizable: {} operations on {} keys, {} with unknown outcome",
                verdict.operations, verdict.keys, verdict.unknown
            );
            Ok(())
        }
        _ => unreachable!("clap asks for a subcommand"),
    }
}

fn run_client(matches: &ArgMatches) -> Result<()> {
    let config = farrow_config::load(matches, farrow_config::environment())?.config;
    let options = DialOptions {
        rdma: farrow_client::Rdma::new(
            config.fabric.device.clone(),
            config.fabric.chosen_port(),
            config.fabric.chosen_gid_index(),
            config.fabric.queue_depth,
            config.fabric.inline,
        ),
        secret: config.cluster.load_secret()?,
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
    };
    let get = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let storm = Storm {
        keys: *matches.get_one("keys").expect("it has a default"),
        operations: get("operations"),
        seed: get("seed"),
        value_len: *matches.get_one("value-len").expect("it has a default"),
    };
    let path: &PathBuf = matches.get_one("record").expect("required");
    let record = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let cluster = Cluster::connect_through(&config.cluster.coordinators, &config.cluster.nodes, &options)?;
    let client = cluster.local_client(&Options { deadline: config.client.deadline, ..Options::default() })?;
    let number = *matches.get_one("client").expect("required");
    let tally = rage(&client, &storm, number, record)?;
    println!("client {number}: {tally}");
    Ok(())
}
