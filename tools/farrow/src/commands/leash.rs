//! `farrow leash`: a program that ends with the process that started it. For `farrow demo --chaos`; hidden.

use crate::exit::{Exit, told};
use anyhow::Result;
use clap::{ArgMatches, Command};
use std::process::ExitCode;

pub fn command() -> Command {
    farrow_chaos::leash_command()
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match farrow_chaos::run_leash(matches) {
        Err(error) => Err(told(Exit::Other, error.to_string())),
    }
}
