//! `farrow bench` by itself, for profiling it without the rest of the program.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    farrow_bench::cli::run(&farrow_bench::cli::command().get_matches())
}
