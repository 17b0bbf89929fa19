//! `farrow-storm`: one process of a storm, a cluster under chaos, or the judgement over records.

mod commands;

use anyhow::Result;
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    commands::run(&commands::command().get_matches())
}
