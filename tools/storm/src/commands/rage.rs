//! `farrow-storm rage`: one client.

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command, value_parser};
use farrow_storm::chaos::{Mix, Work, labour};
use farrow_storm::{Storm, rage};
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name);
    let rage = Command::new("rage")
        .about("Run one client against a cluster and record its calls")
        .arg(
            flag("client")
                .required(true)
                .value_parser(value_parser!(u32).range(1..))
                .help("Number of this client, its alone"),
        )
        .arg(
            flag("record")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Where to write the record"),
        )
        .arg(
            flag("keys")
                .default_value("4")
                .value_parser(value_parser!(u32).range(1..))
                .help("Keys to fight over"),
        )
        .arg(
            flag("operations")
                .default_value("2000")
                .value_parser(value_parser!(u64))
                .help("Operations to make"),
        )
        .arg(
            flag("value-len").default_value("64").value_parser(value_parser!(usize)).help("Bytes of a value"),
        )
        .arg(flag("seed").default_value("1").value_parser(value_parser!(u64)).help("Where choices come from"))
        .arg(
            flag("until-told")
                .num_args(0)
                .conflicts_with("operations")
                .help("Work until standard input ends, with --mix, --rate and --fresh-keys"),
        )
        .arg(
            flag("mix")
                .default_value("a")
                .value_parser(value_parser!(Mix))
                .help("Share of reads: a is half of the calls, b is 95 %"),
        )
        .arg(
            flag("rate")
                .default_value("1000")
                .value_parser(value_parser!(f64))
                .help("Calls a second, at most"),
        )
        .arg(
            flag("fresh-keys")
                .default_value("2s")
                .value_parser(parse_duration)
                .help("After how long to go on to fresh keys, all clients together"),
        )
        .arg(
            flag("tally")
                .value_parser(value_parser!(PathBuf))
                .help("Where to write how calls ended, as JSON"),
        );
    farrow_config::args(rage, &["cluster", "fabric", "client"])
}

pub(super) fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let number: f64 = number.trim().parse().map_err(|_| format!("`{text}` is no duration"))?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "min" => number * 60.0,
        _ => return Err(format!("`{text}`: say a unit, ms, s or min")),
    };
    match (0.001..=86_400.0).contains(&seconds) {
        true => Ok(std::time::Duration::from_secs_f64(seconds)),
        false => Err(format!("`{text}`: say something between 1ms and a day")),
    }
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let config = farrow_config::load(matches, farrow_config::environment())?.config;
    let options = super::dial_options(&config, config.cluster.load_secret()?);
    let get = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let storm = Storm {
        keys: *matches.get_one("keys").expect("it has a default"),
        operations: get("operations"),
        seed: get("seed"),
        value_len: *matches.get_one("value-len").expect("it has a default"),
    };
    let path: &PathBuf = matches.get_one("record").expect("required");
    let record = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let is_told = Arc::new(AtomicBool::new(false));
    if matches.get_flag("until-told") {
        let told = is_told.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            told.store(true, Ordering::Relaxed);
        });
    }
    let client = super::connect(&config, &options)?;
    let number = *matches.get_one("client").expect("required");
    let tally = match matches.get_flag("until-told") {
        false => rage(&client, &storm, number, record)?,
        true => {
            let work = Work {
                mix: *matches.get_one("mix").expect("it has a default"),
                rate: *matches.get_one("rate").expect("it has a default"),
                fresh_keys: *matches.get_one("fresh-keys").expect("it has a default"),
            };
            labour(&client, &storm, &work, number, record, &is_told)?
        }
    };
    // Before anybody is told that all is done.
    drop(client);
    println!("client {number}: {tally}");
    if let Some(path) = matches.get_one::<PathBuf>("tally") {
        fs::write(path, serde_json::to_vec(&tally)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
