//! The `farrow` program: memory nodes, keys and values, and what an operator wants to see of them.
//!
//! [`commands`] has one file a command; each says what it adds to the command line and what it does. What they share:
//! [`connect`] (from the command line to a cluster), [`exit`] (what an error means to a script), [`output`] and
//! [`table`] (what a person sees).

#![forbid(unsafe_code)]

mod commands;
mod connect;
mod exit;
mod human;
mod key;
mod log;
mod output;
mod probe;
mod scan;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = commands::command().get_matches();
    match commands::run(&matches) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}
