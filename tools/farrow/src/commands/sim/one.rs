//! `farrow sim --seed` and `farrow sim replay`: one run.

use super::{Subject, file, json, protocol_of, quietly, read, violation};
use crate::output;
use anyhow::Result;
use clap::{ArgMatches, Command};
use farrow_simulate::home::Protocol;
use farrow_simulate::{Case, Coordinated, Whole, timeline::timeline};
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
    let (subject, commit) = (Subject::of(matches, protocol)?, protocol.commit());
    let again = format!("farrow sim --seed {seed} {}--protocol {} --trace", subject.flag(), protocol.name());
    let (is_traced, is_json) = (matches.get_flag("trace"), matches.get_flag("json"));
    let (world, result) = match subject {
        Subject::Home => return show(&quietly(|| Case::of_seed(protocol, seed)), is_traced, is_json, &again),
        Subject::Whole => quietly(|| Whole { commit }.run_seed(seed, is_traced)),
        Subject::Coordinated => quietly(|| Coordinated { commit }.run_seed(seed, is_traced)),
    };
    if is_json {
        let counts = result.as_ref().map(|r| (r.operations, r.events));
        output::json(&object(protocol, counts, &again))?;
    } else {
        for line in world.trace().lines() {
            output::say(&line.to_string())?;
        }
        if let Ok(tally) = &result {
            output::say(&format!(
                "{} over a cluster: {} operations ({} of unknown outcome), {} events; no oracle objects",
                protocol.name(),
                tally.operations,
                tally.unknown,
                tally.events
            ))?;
        }
    }
    match result {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(said) => Err(violation(&said, &again)),
    }
}

pub fn replay(matches: &ArgMatches) -> Result<ExitCode> {
    let path = matches.get_one::<PathBuf>("file").expect("required");
    let case = read(path)?;
    show(&case, true, matches.get_flag("json"), &format!("farrow sim replay {}", path.display()))
}

fn show(case: &Case, is_traced: bool, is_json: bool, again: &str) -> Result<ExitCode> {
    let (_, result) = quietly(|| case.run(false));
    if is_json {
        let counts = result.as_ref().map(|r| (r.operations, r.events));
        output::json(&object(case.protocol, counts, again))?;
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

/// `counts`: operations and events of a run to which no oracle objects, or what one said.
fn object(protocol: Protocol, counts: Result<(u64, u64), &String>, again: &str) -> serde_json::Value {
    json!({
        "protocol": protocol.name(),
        "operations": counts.ok().map(|(operations, _)| operations),
        "events": counts.ok().map(|(_, events)| events),
        "said": counts.err(),
        "again": again,
    })
}
