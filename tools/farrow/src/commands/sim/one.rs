//! `farrow sim --seed` and `farrow sim replay`: one run.

use super::{file, json, protocol_of, quietly, read, violation};
use crate::output;
use anyhow::Result;
use clap::{ArgMatches, Command};
use farrow_simulate::{Case, timeline::timeline};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow sim replay violation.json

Prints the run as a page: a column for each client and each node, and a line
for each verb, in the order in which they took effect. `#5 v201` is a slot's
word: its version 5, which names value v201. `!` marks a word that nobody may
claim to have come just before, `?` one that is tentative.";

pub fn replay_command() -> Command {
    Command::new("replay")
        .about("Run a run again that was written to a file, and print it")
        .arg(file().required(true))
        .arg(json())
        .after_help(EXAMPLES)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let seed = *matches.get_one::<u64>("seed").expect("required without a subcommand");
    let protocol = protocol_of(matches);
    let case = quietly(|| Case::of_seed(protocol, seed));
    let again = format!("farrow sim --seed {seed} --protocol {} --trace", protocol.name());
    show(&case, matches.get_flag("trace"), matches.get_flag("json"), &again)
}

pub fn replay(matches: &ArgMatches) -> Result<ExitCode> {
    let path = matches.get_one::<PathBuf>("file").expect("required");
    let case = read(path)?;
    show(&case, true, matches.get_flag("json"), &format!("farrow sim replay {}", path.display()))
}

fn show(case: &Case, is_traced: bool, is_json: bool, again: &str) -> Result<ExitCode> {
    let (_, result) = quietly(|| case.run(false));
    if is_json {
        let (operations, events) =
            result.as_ref().map_or((None, None), |r| (Some(r.operations), Some(r.events)));
        let said = result.as_ref().err();
        output::json(&json!({
            "protocol": case.protocol.name(),
            "operations": operations,
            "events": events,
            "said": said,
            "again": again,
        }))?;
    } else if is_traced {
        output::print(&quietly(|| timeline(case)))?;
    } else if let Ok(report) = &result {
        let scenario = &case.scenario;
        output::say(&format!(
            "{}: {} clients over {} replicas, {} operations ({} of unknown outcome), {} events; no oracle objects",
            case.protocol.name(),
            scenario.clients.len(),
            scenario.copies,
            report.operations,
            report.unknown,
            report.events
        ))?;
    }
    match result {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(said) => Err(violation(&said, again)),
    }
}
