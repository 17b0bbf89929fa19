//! Processes that do not outlive the one that started them, however that ends.

use anyhow::{Result, ensure};
use clap::{Arg, ArgMatches, value_parser};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Becomes `program`, which the kernel kills when the thread that started this process ends. With a `user`, becomes that user
/// first, and comes here again: `this` is the program and its arguments that lead here, without a user.
///
/// # Errors
/// The program cannot be executed, or `parent` is gone already.
fn leash(
    user: Option<(u32, Vec<OsString>)>,
    parent: u32,
    program: &OsString,
    args: &[OsString],
) -> Result<Infallible> {
    if let Some((user, this)) = user {
        // In two steps: the kernel forgets the signal when the user changes.
        let mut command = Command::new(std::env::current_exe()?);
        command.args(this).arg(parent.to_string()).arg(program).args(args);
        return Err(command.uid(user).gid(user).exec().into());
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the line above.
    ensure!(
        getppid().map(Pid::as_raw_nonzero).is_some_and(|p| p.get() as u32 == parent),
        "the parent is gone"
    );
    Err(Command::new(program).args(args).exec().into())
}

/// The hidden command `leash`, for programs that start processes on one: [`Launch::leash`](crate::Launch) names it.
pub fn leash_command() -> clap::Command {
    clap::Command::new("leash")
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

/// Carries the command [`leash_command`] out.
///
/// # Errors
/// As [`leash`].
pub fn run_leash(matches: &ArgMatches) -> Result<Infallible> {
    let user = matches.get_one("user").map(|user| (*user, vec!["leash".into()]));
    let parent = *matches.get_one("parent").expect("required");
    let program: Vec<OsString> = matches.get_many("program").expect("required").cloned().collect();
    leash(user, parent, &program[0], &program[1..])
}
