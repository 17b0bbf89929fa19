//! `farrow leash`: a program that ends with the process that started it. For `farrow demo --chaos`; hidden.

use crate::exit::{Exit, told};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::process::ExitCode;

pub fn command() -> Command {
    Command::new("leash")
        .hide(true)
        .about("Become a program that ends with the process that started this one")
        .arg(Arg::new("user").long("user").value_parser(value_parser!(u32)))
        .arg(Arg::new("parent").required(true).value_parser(value_parser!(u32)))
        .arg(
            Arg::new("program")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(value_parser!(OsString)),
        )
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let user = matches.get_one("user").map(|user| (*user, vec!["leash".into()]));
    let parent = *matches.get_one("parent").expect("required");
    let program: Vec<OsString> = matches.get_many("program").expect("required").cloned().collect();
    match farrow_chaos::leash(user, parent, &program[0], &program[1..]) {
        Err(error) => Err(told(Exit::Other, error.to_string())),
    }
}
