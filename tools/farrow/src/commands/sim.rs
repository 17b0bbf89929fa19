//! `farrow sim`: what the simulator can tell.

mod predict;

use anyhow::Result;
use clap::{ArgMatches, Command};
use std::process::ExitCode;

pub fn command() -> Command {
    Command::new("sim")
        .about("Run the protocols in the simulator")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(predict::command())
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let (_, matches) = matches.subcommand().expect("clap requires one");
    predict::run(matches)
}
