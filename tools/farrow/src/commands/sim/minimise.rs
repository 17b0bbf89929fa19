//! `farrow sim minimise`: the smallest run that still goes wrong.

use super::{
    bar, file, json, output as output_file, protocol, protocol_of, quietly, read, seed, violation, write,
};
use crate::{human, output};
use anyhow::Result;
use clap::{ArgGroup, ArgMatches, Command};
use farrow_simulate::{Case, Minimise, timeline::timeline};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow sim minimise --seed 91823
  farrow sim minimise violation.json --output smaller.json

Leaves out clients, operations and faults for as long as some oracle still
objects, looks for the order with the fewest delays, and then for the fewest
choices that differ from it. Prints what is left as a page, and writes it to a
file.";

pub fn command() -> Command {
    Command::new("minimise")
        .about("Make a failing run smaller, and print it")
        .arg(file())
        .arg(seed())
        .group(ArgGroup::new("run").args(["file", "seed"]).required(true))
        .arg(protocol())
        .arg(output_file("minimised.json"))
        .arg(json())
        .after_help(EXAMPLES)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let case = match matches.get_one::<PathBuf>("file") {
        Some(path) => read(path)?,
        None => {
            let seed = *matches.get_one::<u64>("seed").expect("one of the two is required");
            quietly(|| Case::of_seed(protocol_of(matches), seed))
        }
    };
    let bar = bar(None, "minimising: {msg} {elapsed}");
    let tick = |stage: &str, runs| bar.set_message(format!("{stage}, {} runs", human::count(runs)));
    let smaller = quietly(|| Minimise::default().run(&case, tick));
    bar.finish_and_clear();
    let Some(smaller) = smaller else {
        output::say("no oracle objects to this run: there is nothing to make smaller")?;
        return Ok(ExitCode::SUCCESS);
    };
    let path = matches.get_one::<PathBuf>("output").expect("has a default");
    write(path, &smaller)?;
    if matches.get_flag("json") {
        let size = |case: &Case| {
            json!({
                "clients": case.scenario.clients.len(),
                "operations": case.scenario.clients.iter().map(Vec::len).sum::<usize>(),
                "choices": case.choices.iter().filter(|c| **c != 0).count(),
            })
        };
        output::json(&json!({ "before": size(&case), "after": size(&smaller), "said": smaller.said }))?;
    } else {
        output::print(&quietly(|| timeline(&smaller)))?;
    }
    Err(violation(&smaller.said, &format!("farrow sim replay {}", path.display())))
}
