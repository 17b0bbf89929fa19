//! One file a command.

mod config;
mod coordinator;
mod del;
mod demo;
mod doctor;
mod dump;
mod exists;
mod forget;
mod get;
mod inspect;
mod leash;
mod load;
mod node;
mod put;
mod sim;
mod stat;
mod status;

use crate::exit::EXIT_CODES;
use anyhow::Result;
use clap::{ArgMatches, Command};
use std::process::ExitCode;

const ABOUT: &str = "A key-value store in disaggregated memory, over one-sided RDMA verbs";

const EXAMPLES: &str = "\
Try it, on this machine and without any configuration:
  farrow demo                          five memory nodes, real data, a table of what happened
  farrow demo --keep                   leaves them running and says how to talk to them

Run it:
  farrow config show --toml > farrow.toml    then set cluster.nodes and cluster.secret_file
  farrow node                                on every machine of cluster.nodes
  farrow coordinator                         once, with cluster.coordinators set: lost nodes are replaced
  farrow put greeting hello
  farrow get greeting
  farrow status
  farrow doctor                              what is missing, and what to do about it

Every key of farrow.toml is also a flag (--section-key) and a variable (FARROW_SECTION_KEY).";

type Run = fn(&ArgMatches) -> Result<ExitCode>;

fn all() -> Vec<(Command, Run)> {
    vec![
        (demo::command(), demo::run),
        (node::command(), node::run),
        (coordinator::command(), coordinator::run),
        (forget::command(), forget::run),
        (put::command(), put::run),
        (get::command(), get::run),
        (del::command(), del::run),
        (exists::command(), exists::run),
        (stat::command(), stat::run),
        (load::command(), load::run),
        (dump::command(), dump::run),
        (status::command(), status::run),
        (doctor::command(), doctor::run),
        (inspect::command(), inspect::run),
        (farrow_bench::cli::command(), farrow_bench::cli::run),
        (sim::command(), sim::run),
        (config::command(), config::run),
        (leash::command(), leash::run),
    ]
}

/// The whole command line.
pub fn command() -> Command {
    let command = Command::new("farrow")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110)
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"));
    command.subcommands(all().into_iter().map(|(command, _)| command))
}

/// Runs the command that was given.
pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    let (_, run) =
        all().into_iter().find(|(command, _)| command.get_name() == name).expect("clap knows no others");
    run(matches)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
