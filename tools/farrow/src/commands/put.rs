//! `farrow put`: writes one value.

use crate::connect::{self, Reach};
use crate::exit::{EXIT_CODES, Exit, told};
use crate::{key, output};
use anyhow::{Context, Result};
use clap::{Arg, ArgGroup, ArgMatches, Command};
use farrow_client::{LocalClient, PutRequest, Version, When};
use serde_json::json;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow put greeting hello
  date | farrow put now                           the value from standard input
  farrow put logo --file logo.png
  farrow put lock me --if-absent                  exit code 1 when somebody has it
  farrow put counter 2 --if-version $(farrow exists counter -q)
  farrow put -- key -5                            a value that begins with a dash

Prints the version of the value. The value is on every replica when the command ends
with 0.";

pub fn command() -> Command {
    let [key, hex] = key::args(false);
    let flag = |name: &'static str| Arg::new(name).long(name);
    let command = Command::new("put")
        .about("Write a value")
        .arg(key)
        .arg(
            Arg::new("value")
                .value_name("VALUE")
                .value_parser(clap::value_parser!(OsString))
                .help("The value; `-` or nothing reads standard input to its end"),
        )
        .arg(hex)
        .arg(
            flag("file")
                .value_name("PATH")
                .value_parser(clap::value_parser!(PathBuf))
                .conflicts_with("value")
                .help("Take the value from a file"),
        )
        .arg(flag("if-absent").num_args(0).help("Only if the key is not there"))
        .arg(flag("if-present").num_args(0).help("Only if the key is there"))
        .arg(flag("if-version").value_name("VERSION").help("Only if the key's value is this very version"))
        .group(ArgGroup::new("when").args(["if-absent", "if-present", "if-version"]))
        .arg(
            flag("flags")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(u16))
                .default_value("0")
                .help("Sixteen bits of your own, kept beside the value"),
        )
        .arg(flag("json").num_args(0).help("Print an object instead of the version"))
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"));
    connect::args(command)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let key = key::one(matches)?;
    let when = when(matches)?;
    let flags = *matches.get_one::<u16>("flags").expect("has a default");
    // Dialled first: a long input should not be read for nothing.
    let client = Reach::load(matches, "put")?.local()?;
    let value = value(matches, &client, key.len())?;
    let request = PutRequest::new(&key, &value).when(when).flags(flags);
    let version =
        client.block_on(client.put_with(&request)).with_context(|| format!("put {}", key::show(&key)))?;
    match matches.get_flag("json") {
        true => output::json(&json!({ "version": version.to_string(), "len": value.len(), "flags": flags }))?,
        false => output::say(&version.to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn when(matches: &ArgMatches) -> Result<When> {
    if let Some(version) = matches.get_one::<String>("if-version") {
        let version: Version = version.parse().map_err(|why| told(Exit::Usage, why))?;
        return Ok(When::Version(version));
    }
    Ok(match (matches.get_flag("if-absent"), matches.get_flag("if-present")) {
        (true, _) => When::Absent,
        (_, true) => When::Present,
        _ => When::Always,
    })
}

fn value(matches: &ArgMatches, client: &LocalClient, key_len: usize) -> Result<Vec<u8>> {
    if let Some(path) = matches.get_one::<PathBuf>("file") {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        return all_of(file, client, key_len).with_context(|| format!("cannot read {}", path.display()));
    }
    match matches.get_one::<OsString>("value") {
        Some(value) if value.as_bytes() != b"-" => Ok(value.as_bytes().to_vec()),
        Some(_) => all_of(io::stdin(), client, key_len).context("cannot read standard input"),
        None if io::stdin().is_terminal() => Err(told(
            Exit::Usage,
            "no value: give it after the key, in a file (--file PATH), or on standard input (`-` reads the terminal)",
        )),
        None => all_of(io::stdin(), client, key_len).context("cannot read standard input"),
    }
}

/// Reads one byte more than fits at the most, so that an endless input ends as a value that is too large.
fn all_of(input: impl Read, client: &LocalClient, key_len: usize) -> Result<Vec<u8>> {
    let max = client.max_value_len(key_len);
    let mut value = Vec::new();
    input.take(max as u64 + 1).read_to_end(&mut value)?;
    if value.len() > max {
        let why =
            format!("the value is too large: at most {max} bytes fit beside this key (cluster.block_size)");
        return Err(told(Exit::Usage, why));
    }
    Ok(value)
}
