//! `farrow exists`: asks for keys without reading their values.

use crate::connect::{self, Reach};
use crate::exit::{EXIT_CODES, Exit};
use crate::{key, output};
use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow exists greeting && echo it is there
  farrow exists a b c                     version and key, a line for each
  farrow exists greeting -q               the version alone

Ends with 0 when all keys are there, with 1 when one of them is not.";

pub fn command() -> Command {
    let [key, hex] = key::args(true);
    let command = Command::new("exists")
        .about("Ask whether keys are there")
        .arg(key)
        .arg(hex)
        .arg(
            Arg::new("quiet")
                .long("quiet")
                .short('q')
                .action(ArgAction::SetTrue)
                .help("Print versions alone, and nothing for absent keys"),
        )
        .arg(Arg::new("json").long("json").num_args(0).help("Print an array of objects"))
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"));
    connect::args(command)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let keys = key::all(matches)?;
    let client = Reach::load(matches, "exists")?.local()?;
    let results = client.block_on(client.exists_many(&keys));
    let versions = keys.iter().zip(results).map(|(key, result)| {
        result.with_context(|| format!("exists {}", key::show(key))).map(|version| (key, version))
    });
    let versions: Vec<_> = versions.collect::<Result<_>>()?;
    if matches.get_flag("json") {
        let objects = versions.iter().map(|(key, version)| {
            let mut object = Map::new();
            key::put(&mut object, "key", key);
            object.insert("version".to_owned(), json!(version.map(|v| v.to_string())));
            Value::from(object)
        });
        output::json(&objects.collect())?;
    } else {
        let is_quiet = matches.get_flag("quiet");
        let lines = versions.iter().filter_map(|(key, version)| match (version, is_quiet) {
            (Some(version), true) => Some(format!("{version}\n")),
            (None, true) => None,
            (Some(version), false) => Some(format!("{version}  {}\n", key::show(key))),
            (None, false) => Some(format!("{:16}  {}\n", "absent", key::show(key))),
        });
        output::print(&lines.collect::<String>())?;
    }
    let all = versions.iter().all(|(_, version)| version.is_some());
    Ok(if all { ExitCode::SUCCESS } else { Exit::No.into() })
}
