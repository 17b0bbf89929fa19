//! `farrow sim`: the protocols in the simulator, from one seed to every schedule.

mod explore;
mod minimise;
mod one;
mod predict;
mod sweep;

use crate::exit::{EXIT_CODES, Exit, told};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};
use farrow_simulate::Case;
use farrow_simulate::home::Protocol;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  farrow sim --seed 7 --trace          one run, as a page
  farrow sim sweep --minutes 10        seed after seed, on all cores
  farrow sim explore --list            the small scopes
  farrow sim explore --scope pairs-2   every schedule of one
  farrow sim minimise --seed 7         the smallest run that still goes wrong
  farrow sim predict                   what operations take, in virtual time

The code that runs is the code of the store: its protocols, every word of every
verb a step, and the order of the steps chosen by a seed or by a search.
Oracles judge each run: histories must be linearizable, whatever is answered
must be on all replicas, words must not recur, and no key may be in two slots.

A seed is a whole run, on every machine. What goes wrong ends with exit code 9
and one line that repeats it.";

pub fn command() -> Command {
    Command::new("sim")
        .about("Search the protocols for wrong histories, in the simulator")
        .arg(seed().required(true))
        .arg(protocol())
        .args(clusters())
        .arg(Arg::new("trace").long("trace").num_args(0).help("Print what happened, as a page"))
        .arg(json())
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .subcommand(sweep::command())
        .subcommand(explore::command())
        .subcommand(minimise::command())
        .subcommand(one::replay_command())
        .subcommand(predict::command())
        .arg_required_else_help(true)
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"))
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some(("sweep", matches)) => sweep::run(matches),
        Some(("explore", matches)) => explore::run(matches),
        Some(("minimise", matches)) => minimise::run(matches),
        Some(("replay", matches)) => one::replay(matches),
        Some(("predict", matches)) => predict::run(matches),
        _ => one::run(matches),
    }
}

fn seed() -> Arg {
    Arg::new("seed")
        .long("seed")
        .value_name("NUMBER")
        .value_parser(value_parser!(u64))
        .help("The seed: it draws the scenario and the order of everything")
}

fn protocol() -> Arg {
    Arg::new("protocol")
        .long("protocol")
        .value_name("NAME")
        .value_parser(Protocol::ALL.map(Protocol::name))
        .default_value(Protocol::Colocated.name())
        .help("The commit protocol")
}

fn clusters() -> [Arg; 2] {
    [
        Arg::new("whole").long("whole").num_args(0).help("A whole cluster instead of one home"),
        Arg::new("coordinated")
            .long("coordinated")
            .num_args(0)
            .conflicts_with("whole")
            .help("A cluster with a coordinator, leases and agents, which goes on without lost nodes"),
    ]
}

/// What a run is of.
#[derive(Clone, Copy)]
enum Subject {
    Home,
    Whole,
    Coordinated,
}

impl Subject {
    /// # Errors
    /// There is none of that protocol.
    fn of(matches: &ArgMatches, protocol: Protocol) -> Result<Subject> {
        match (matches.get_flag("whole"), matches.get_flag("coordinated")) {
            (_, true) if protocol != Protocol::Colocated => {
                Err(told(Exit::Usage, "--coordinated is of colocated alone: leave --protocol out"))
            }
            (_, true) => Ok(Subject::Coordinated),
            (true, _) => Ok(Subject::Whole),
            _ => Ok(Subject::Home),
        }
    }

    /// The arguments that repeat it.
    fn flag(self) -> &'static str {
        match self {
            Subject::Home => "",
            Subject::Whole => "--whole ",
            Subject::Coordinated => "--coordinated ",
        }
    }
}

fn json() -> Arg {
    Arg::new("json").long("json").num_args(0).help("Print one object")
}

fn output(default: &'static str) -> Arg {
    Arg::new("output")
        .long("output")
        .value_name("FILE")
        .default_value(default)
        .value_parser(value_parser!(std::path::PathBuf))
        .help("Where the failing run is written")
}

fn file() -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .value_parser(value_parser!(std::path::PathBuf))
        .help("A run that was written by `explore` or `minimise`")
}

fn protocol_of(matches: &ArgMatches) -> Protocol {
    let name = matches.get_one::<String>("protocol").expect("has a default");
    Protocol::named(name).expect("clap knows the names")
}

/// Runs what searches: oracles object by panics, which are caught, and are not to be printed as they fly by.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    std::panic::set_hook(hook);
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn read(path: &Path) -> Result<Case> {
    let wrong = |why: String| told(Exit::BadInput, format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Case::from_text(&text).map_err(wrong)
}

fn write(path: &Path, case: &Case) -> Result<()> {
    std::fs::write(path, case.to_text())
        .map_err(|error| told(Exit::Other, format!("cannot write {}: {error}", path.display())))
}

/// The end of a search that found something: what an oracle said in short, and the line that repeats it.
fn violation(said: &str, again: &str) -> anyhow::Error {
    let first = said.lines().next().unwrap_or("an oracle objected");
    told(Exit::Violation, format!("an oracle objects: {first}\nrepeat it with: {again}"))
}

fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let style = ProgressStyle::with_template(template).expect("the template is right");
    bar.set_style(style.progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
