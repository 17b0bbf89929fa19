//! `farrow doctor`: what this machine has, what would be used and why, and what to do about the rest.

mod cluster;
mod machine;
mod rdma;

use crate::exit::Exit;
use crate::{log, output};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use farrow_config::Loaded;
use serde_json::{Value, json};
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow doctor                           this machine
  farrow doctor --cluster-nodes 10.0.0.1:7400,10.0.0.2:7400 --cluster-secret-file farrow.secret
  farrow doctor --node-memory 64GiB       whether a node of this size could run here

Every line is OK, WARN (it works, but not as well as it could) or FAIL (it does not
work), and says what to do. Ends with 0 without a FAIL, and with 3 with one.";

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug)]
pub struct Check {
    area: &'static str,
    state: State,
    what: String,
    todo: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn ok(area: &'static str, what: impl Into<String>) -> Check {
        Check { area, state: State::Ok, what: what.into(), todo: None }
    }

    /// Could be better; what to do.
    pub fn warn(area: &'static str, what: impl Into<String>, todo: impl Into<String>) -> Check {
        Check { area, state: State::Warn, what: what.into(), todo: Some(todo.into()) }
    }

    /// Does not work; what to do.
    pub fn fail(area: &'static str, what: impl Into<String>, todo: impl Into<String>) -> Check {
        Check { area, state: State::Fail, what: what.into(), todo: Some(todo.into()) }
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        }
    }

    fn color(self) -> &'static str {
        match self {
            State::Ok => "\x1b[32m",
            State::Warn => "\x1b[33m",
            State::Fail => "\x1b[31m",
        }
    }
}

pub fn command() -> Command {
    let command = Command::new("doctor")
        .about("Look at this machine and at the way to every node, and say what to do")
        .arg(Arg::new("json").long("json").num_args(0).help("Print one object"))
        .after_help(EXAMPLES);
    // As for any command that connects, and the node's keys: what a node here would need.
    farrow_config::args(command, &["cluster", "node", "fabric", "client", "log"]).mut_args(|arg| {
        let id = arg.get_id().as_str();
        let is_short =
            matches!(id, "json" | "config" | "cluster-nodes" | "cluster-secret-file" | "node-memory");
        let is_hidden = !is_short && arg.get_help_heading().is_some();
        arg.hide_short_help(is_hidden)
    })
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let loaded = farrow_config::load(matches, farrow_config::environment())?;
    log::start(&loaded, true);
    let mut checks = vec![configuration(&loaded)];
    checks.extend(machine::checks(&loaded.config));
    checks.extend(rdma::checks(&loaded.config));
    checks.extend(cluster::checks(&loaded));
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    match matches.get_flag("json") {
        true => output::json(&to_json(&checks, worst))?,
        false => output::print(&text(&checks, worst, io::stdout().is_terminal()))?,
    }
    Ok(if worst == State::Fail { Exit::Unavailable.into() } else { ExitCode::SUCCESS })
}

fn configuration(loaded: &Loaded) -> Check {
    match loaded.file().path() {
        Some(path) => Check::ok("configuration", format!("{} is read, and has no mistakes", path.display())),
        None => Check::ok("configuration", "no file; flags, variables and defaults (`farrow config show`)"),
    }
}

fn text(checks: &[Check], worst: State, is_colored: bool) -> String {
    let width = checks.iter().map(|check| check.area.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Check { area, state, what, todo } in checks {
        let word = state.word();
        let word = match is_colored {
            true => format!("{}{word:4}\x1b[0m", state.color()),
            false => format!("{word:4}"),
        };
        let indent = " ".repeat(width + 8);
        let what = what.replace('\n', &format!("\n{indent}"));
        writeln!(text, "{word}  {area:width$}  {what}").expect("a string takes everything");
        if let Some(todo) = todo {
            writeln!(text, "{indent}-> {}", todo.replace('\n', &format!("\n{indent}   "))).expect("as above");
        }
    }
    let number = |state| checks.iter().filter(|check| check.state == state).count();
    text += &match worst {
        State::Ok => "\nEverything is as it should be.\n".to_owned(),
        State::Warn => format!("\nNothing is broken; {} could be better.\n", number(State::Warn)),
        State::Fail => {
            format!("\n{} broken, {} could be better.\n", number(State::Fail), number(State::Warn))
        }
    };
    text
}

fn to_json(checks: &[Check], worst: State) -> Value {
    let checks = checks.iter().map(|Check { area, state, what, todo }| {
        json!({ "area": area, "state": state.word(), "what": what, "todo": todo })
    });
    json!({ "state": worst.word(), "checks": checks.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_lines_up_and_says_what_to_do() {
        let checks = [Check::ok("a", "fine"), Check::warn("long area", "one\ntwo", "do this")];
        assert_eq!(
            text(&checks, State::Warn, false),
            "OK    a          fine\nWARN  long area  one\n                 two\n                 -> do this\n\n\
             Nothing is broken; 1 could be better.\n"
        );
    }
}
