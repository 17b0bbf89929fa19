//! `farrow config`: what is configured, and where each value comes from.

use crate::output;
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use farrow_config::{Loaded, SECTIONS, render_table, render_toml, to_json};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow config show                          every key: value, where it comes from, what it means
  farrow config show --toml > farrow.toml     a commented file to start from
  farrow config check --config farrow.toml    ends with 2 and a line for each thing that is wrong

A flag beats the environment, which beats the file, which beats the default. The
file is the one that --config or FARROW_CONFIG names, or else ./farrow.toml.";

pub fn command() -> Command {
    let sections: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
    let with_keys = |command| {
        farrow_config::args(command, &sections).mut_args(|arg| {
            let is_key = arg.get_help_heading().is_some();
            arg.hide_short_help(is_key)
        })
    };
    let format = |name, help| Arg::new(name).long(name).num_args(0).help(help);
    let show = Command::new("show")
        .about("Print every key with its value, its origin and its meaning")
        .arg(format("toml", "Print a commented farrow.toml").conflicts_with("json"))
        .arg(format("json", "Print one object"));
    let check = Command::new("check").about("Check the configuration and the cluster's secret");
    Command::new("config")
        .about("Show or check the configuration")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_keys(show))
        .subcommand(with_keys(check))
        .after_help(EXAMPLES)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    let loaded = farrow_config::load(matches, farrow_config::environment())?;
    match name {
        "show" if matches.get_flag("toml") => output::print(&render_toml(&loaded))?,
        "show" if matches.get_flag("json") => output::json(&to_json(&loaded))?,
        "show" => output::print(&render_table(&loaded))?,
        _ => check(&loaded)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(loaded: &Loaded) -> Result<()> {
    loaded.config.cluster.load_secret()?;
    let file = match loaded.file().path() {
        Some(path) => format!("file {}", path.display()),
        None => "no file; flags, variables and defaults".to_owned(),
    };
    let cluster = &loaded.config.cluster;
    let nodes = match cluster.nodes.as_slice() {
        _ if !cluster.coordinators.is_empty() => format!(
            "cluster \"{}\" with {}",
            cluster.name,
            crate::human::plural(cluster.coordinators.len() as u64, "coordinator")
        ),
        [] => "no cluster.nodes: a node would be a cluster by itself, a client would not know whom to ask"
            .to_owned(),
        nodes => format!(
            "cluster \"{}\" of {}",
            loaded.config.cluster.name,
            crate::human::plural(nodes.len() as u64, "node")
        ),
    };
    output::say(&format!("the configuration is fine ({file}; {nodes})"))?;
    Ok(())
}
