//! Processes that do not outlive the one that started them, however that ends.

use anyhow::{Result, ensure};
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
pub fn leash(
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
