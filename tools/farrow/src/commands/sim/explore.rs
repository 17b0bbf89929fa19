//! `farrow sim explore`: every schedule of a small scope.

use super::{bar, json, output as output_file, protocol, protocol_of, quietly, violation, write};
use crate::exit::{Exit, told};
use crate::table::{Side, Table};
use crate::{human, output};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};
use farrow_simulate::home::{Protocol, Scope};
use farrow_simulate::{Ended, Explore, Explored};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  farrow sim explore --list
  farrow sim explore --scope pairs-2                every schedule
  farrow sim explore --scope crash-3 --delays 2     those with at most 2 delays
  farrow sim explore --scope triples-2 --minutes 30

Schedules that differ only in the order of steps that do not touch each other
are run once. \"exhausted\" then means that no order of the scope goes wrong.
With --delays a client runs as far as it can, but for so many times that
another is let through first: most mistakes need one or two. Where clients wait
for each other by looking again, they do so at most twice before it is their
turn, and the outcome says so.";

pub fn command() -> Command {
    Command::new("explore")
        .about("Run every schedule of a few clients, or all with few delays")
        .arg(protocol())
        .arg(
            Arg::new("scope")
                .long("scope")
                .value_name("NAME")
                .required_unless_present("list")
                .help("Which clients and operations; see --list"),
        )
        .arg(Arg::new("list").long("list").num_args(0).help("List the scopes of the protocol"))
        .arg(
            Arg::new("delays")
                .long("delays")
                .value_name("NUMBER")
                .value_parser(value_parser!(u16).range(0..=16))
                .help("Only schedules with at most so many delays"),
        )
        .arg(Arg::new("words").long("words").num_args(0).help("Cut transfers into words, in any order"))
        .arg(
            Arg::new("minutes")
                .long("minutes")
                .value_name("MINUTES")
                .value_parser(value_parser!(u64))
                .help("Begin no further schedule after this long"),
        )
        .arg(output_file("violation.json"))
        .arg(json())
        .after_help(EXAMPLES)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let protocol = protocol_of(matches);
    if matches.get_flag("list") {
        list(protocol)?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = matches.get_one::<String>("scope").expect("required without --list");
    let scope = Scope::named(protocol, name).ok_or_else(|| {
        let names: Vec<_> = Scope::all(protocol).iter().map(|scope| scope.name).collect();
        told(Exit::Usage, format!("{} has no scope `{name}`, but {}", protocol.name(), names.join(", ")))
    })?;
    let minutes = matches.get_one::<u64>("minutes");
    let explore = Explore {
        delays: matches.get_one::<u16>("delays").map(|delays| usize::from(*delays)),
        words: matches.get_flag("words"),
        most: minutes.map_or(Duration::MAX, |m| Duration::from_secs(m.saturating_mul(60))),
        ..Explore::all_of(protocol, scope)
    };
    let scenarios = explore.scope.scenarios().len() as u64;
    let bar = bar(Some(scenarios), "exploring [{bar:30}] {pos}/{len} {msg} {elapsed}");
    let explored = quietly(|| {
        explore.run(|scenario, runs| {
            bar.set_position(scenario);
            bar.set_message(format!("{} runs", human::count(runs)));
        })
    });
    bar.finish_and_clear();
    if matches.get_flag("json") {
        output::json(&object(&explore, &explored))?;
    } else {
        output::say(&text(&explore, &explored))?;
    }
    let Some(case) = &explored.found else { return Ok(ExitCode::SUCCESS) };
    let path = matches.get_one::<PathBuf>("output").expect("has a default");
    write(path, case)?;
    Err(violation(&case.said, &format!("farrow sim replay {}", path.display())))
}

fn list(protocol: Protocol) -> Result<()> {
    let mut table = Table::new(&[("scope", Side::Left), ("scenarios", Side::Right), ("of", Side::Left)]);
    for scope in Scope::all(protocol) {
        let count = human::count(scope.scenarios().len() as u64);
        table.row([scope.name.to_owned(), count, scope.about.to_owned()]);
    }
    output::print(&table.to_string())?;
    Ok(())
}

fn ended(explored: &Explored) -> String {
    match explored.ended {
        Ended::Exhausted => "exhausted: every schedule, or one that shows the same".to_owned(),
        Ended::ExhaustedWithinTimers => {
            "exhausted, but for clients that look again more than twice".to_owned()
        }
        Ended::Bounded(delays) => {
            format!("every schedule with at most {}", human::plural(delays as u64, "delay"))
        }
        Ended::StoppedAfter(scenarios) => {
            format!(
                "stopped after {} of {}",
                human::count(scenarios),
                human::plural(explored.scenarios, "scenario")
            )
        }
        Ended::Found => "an oracle objects".to_owned(),
    }
}

fn text(explore: &Explore, explored: &Explored) -> String {
    let runs = explored.schedules + explored.pruned;
    [
        format!("scope      {} of {}: {}", explore.scope.name, explore.protocol.name(), explore.scope.about),
        format!("outcome    {}", ended(explored)),
        format!(
            "schedules  {} of {}, and {} given up midway",
            human::count(explored.schedules),
            human::plural(explored.scenarios, "scenario"),
            human::count(explored.pruned)
        ),
        format!("steps      {}, at most {} in one", human::count(explored.steps), explored.longest),
        format!("histories  {} different ones", human::count(explored.histories)),
        format!(
            "in         {:.1} s, {} runs a second",
            explored.elapsed.as_secs_f64(),
            human::rate(runs, explored.elapsed)
        ),
    ]
    .join("\n")
}

fn object(explore: &Explore, explored: &Explored) -> serde_json::Value {
    let word = match explored.ended {
        Ended::Exhausted => "exhausted",
        Ended::ExhaustedWithinTimers => "exhausted_within_timers",
        Ended::Bounded(_) => "bounded",
        Ended::StoppedAfter(_) => "stopped",
        Ended::Found => "found",
    };
    json!({
        "protocol": explore.protocol.name(),
        "scope": explore.scope.name,
        "ended": word,
        "delays": explore.delays,
        "scenarios": explored.scenarios,
        "schedules": explored.schedules,
        "pruned": explored.pruned,
        "steps": explored.steps,
        "histories": explored.histories,
        "elapsed_s": explored.elapsed.as_secs_f64(),
        "said": explored.found.as_ref().map(|case| &case.said),
    })
}
