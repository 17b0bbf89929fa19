//! `farrow del`: removes keys.

use crate::connect::{self, Reach};
use crate::exit::{self, EXIT_CODES, Exit, told};
use crate::{key, output};
use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command};
use farrow_client::{LocalClient, Version};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow del greeting
  farrow del a b c                        a line for each; 1 at the end if any of them was not there
  farrow del lock --if-version 010200000000000a";

pub fn command() -> Command {
    let [key, hex] = key::args(true);
    let command = Command::new("del")
        .about("Remove keys")
        .arg(key)
        .arg(hex)
        .arg(
            Arg::new("if-version")
                .long("if-version")
                .value_name("VERSION")
                .help("Only if the key's value is this very version"),
        )
        .arg(Arg::new("json").long("json").num_args(0).help("Print an array of objects"))
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"));
    connect::args(command)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let keys = key::all(matches)?;
    if let Some(version) = matches.get_one::<String>("if-version") {
        let version: Version = version.parse().map_err(|why| told(Exit::Usage, why))?;
        let [key] = keys.as_slice() else {
            return Err(told(Exit::Usage, "--if-version is about one key"));
        };
        let client = Reach::load(matches, "del")?.local()?;
        let deleted = client.block_on(client.delete_version(key, version));
        deleted.with_context(|| format!("del {}", key::show(key)))?;
        return answer(matches, &keys, &[Ok(true)]);
    }
    let client = Reach::load(matches, "del")?.local()?;
    let results = remove(&client, &keys);
    answer(matches, &keys, &results)
}

fn remove(client: &LocalClient, keys: &[Vec<u8>]) -> Vec<Result<bool, farrow_client::Error>> {
    client.block_on(client.delete_many(keys))
}

fn answer(
    matches: &ArgMatches,
    keys: &[Vec<u8>],
    results: &[Result<bool, farrow_client::Error>],
) -> Result<ExitCode> {
    let word = |result: &Result<bool, _>| match result {
        Ok(true) => "deleted",
        Ok(false) => "absent",
        Err(_) => "failed",
    };
    if matches.get_flag("json") {
        let objects = keys.iter().zip(results).map(|(key, result)| {
            let mut object = Map::new();
            key::put(&mut object, "key", key);
            object.insert("result".to_owned(), json!(word(result)));
            if let Err(error) = result {
                object.insert("error".to_owned(), json!(error.to_string()));
            }
            Value::from(object)
        });
        output::json(&objects.collect())?;
    } else {
        let lines: Vec<_> = keys
            .iter()
            .zip(results)
            .map(|(key, result)| format!("{:7}  {}", word(result), key::show(key)))
            .collect();
        output::say(&lines.join("\n"))?;
    }
    for (key, result) in keys.iter().zip(results) {
        if let Err(error) = result {
            eprintln!("farrow: del {}: {error}", key::show(key));
        }
    }
    let worst = results.iter().find_map(|result| result.as_ref().err()).map(exit::of_operation);
    let absent = results.contains(&Ok(false)).then_some(Exit::No);
    Ok(worst.or(absent).map_or(ExitCode::SUCCESS, ExitCode::from))
}
