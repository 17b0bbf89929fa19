//! `farrow get`: reads one value.

use crate::connect::{self, Reach};
use crate::exit::{EXIT_CODES, Exit, told};
use crate::{key, output};
use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command};
use farrow_client::ValueInfo;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow get greeting
  farrow get logo > logo.png              exactly the bytes that were put
  farrow get greeting --meta              version, length and flags instead of the value
  farrow get --hex 00ff                   a key that is no text

An absent key is not an empty value: it prints nothing, says so on standard error
and ends with 1.";

pub fn command() -> Command {
    let [key, hex] = key::args(false);
    let command = Command::new("get")
        .about("Read a value")
        .arg(key)
        .arg(hex)
        .arg(
            Arg::new("meta")
                .long("meta")
                .num_args(0)
                .help("Print version, length and flags instead of the value"),
        )
        .arg(Arg::new("json").long("json").num_args(0).requires("meta").help("Print them as an object"))
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"));
    connect::args(command)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let key = key::one(matches)?;
    let client = Reach::load(matches, "get")?.local()?;
    let value = client.block_on(client.get(&key)).with_context(|| format!("get {}", key::show(&key)))?;
    let Some(value) = value else {
        return Err(told(Exit::No, format!("`{}` is not there", key::show(&key))));
    };
    if matches.get_flag("meta") {
        let ValueInfo { len, version, flags } = ValueInfo::of(&value);
        match matches.get_flag("json") {
            true => output::json(&json!({ "version": version.to_string(), "len": len, "flags": flags }))?,
            false => output::say(&format!("version  {version}\nlength   {len}\nflags    {flags}"))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let value = value.to_vec();
    let mut out = output::stdout();
    out.write_all(&value)?;
    // So that the shell's prompt gets a line of its own; a pipe or a file gets the value and nothing else.
    if io::stdout().is_terminal() && !value.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
