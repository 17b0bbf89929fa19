//! A demo that was left running: where its configuration and secret lie, and how it is stopped.

use super::nodes::Nodes;
use crate::connect::Reach;
use crate::exit::{Exit, told};
use crate::{human, output};
use anyhow::{Context, Result};
use farrow_config::{Loaded, render_toml};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long a node may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A directory that nobody but its owner can read.
pub struct Home {
    path: PathBuf,
}

/// What has to be known to stop a demo.
#[derive(Serialize, Deserialize)]
struct Running {
    processes: Vec<Process>,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Serialize, Deserialize)]
struct Process {
    pid: u32,
    /// Clock ticks since the machine started.
    started: u64,
}

impl Home {
    fn place() -> PathBuf {
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_absolute()) {
            Some(dir) => Path::new(&dir).join("farrow-demo"),
            None => PathBuf::from(format!("/tmp/farrow-demo-{}", getuid().as_raw())),
        }
    }

    /// Takes the place of a demo that is to be kept.
    ///
    /// # Errors
    /// One is running already, or somebody else has the place.
    pub fn claim() -> Result<Home> {
        let home = Home { path: Home::place() };
        match DirBuilder::new().mode(0o700).create(&home.path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => home.check()?,
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", home.path.display())),
        }
        if home.running()?.is_some_and(|running| running.processes.iter().any(Process::is_alive)) {
            let why = "a demo is running already: stop it with `farrow demo --stop`, or talk to it with";
            return Err(told(Exit::Other, format!("{why} FARROW_CONFIG={}", home.config().display())));
        }
        Ok(home)
    }

    /// In a directory that anybody may write, names may be taken by others.
    fn check(&self) -> Result<()> {
        let found = fs::symlink_metadata(&self.path)?;
        let is_ours = found.is_dir() && found.uid() == getuid().as_raw() && found.mode() & 0o077 == 0;
        if is_ours {
            return Ok(());
        }
        let why = format!(
            "{} is not a directory of yours alone: remove it, or set XDG_RUNTIME_DIR",
            self.path.display()
        );
        Err(told(Exit::Other, why))
    }

    fn config(&self) -> PathBuf {
        self.path.join("farrow.toml")
    }

    fn state(&self) -> PathBuf {
        self.path.join("nodes.json")
    }

    fn running(&self) -> Result<Option<Running>> {
        match fs::read(self.state()) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.state().display())),
        }
    }

    /// Writes down what is needed to talk to the nodes and to stop them, and has them stay.
    pub fn keep(&self, nodes: &mut Nodes, reach: &Reach) -> Result<()> {
        let processes = nodes.pids().map(Process::of).collect::<Result<_>>()?;
        let secret = self.path.join("secret");
        self.write(&secret, reach.dial.secret.expose())?;
        let mut config = reach.loaded.config.clone();
        config.cluster.secret_file = Some(secret);
        // What this one insisted on is no concern of later clients.
        self.write(&self.config(), render_toml(&Loaded::from_config(config)).as_bytes())?;
        self.write(&self.state(), &serde_json::to_vec(&Running { processes })?)?;
        nodes.keep()
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let cannot = || format!("cannot write {}", path.display());
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(cannot),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        file.and_then(|mut file| file.write_all(bytes)).with_context(cannot)
    }

    /// For people.
    pub fn how_to(&self) -> String {
        format!(
            "the nodes are running still, with all of this in them. Talk to them:\n\n  \
             export FARROW_CONFIG={}\n  \
             farrow status\n  \
             farrow put greeting hello\n  \
             farrow get greeting\n  \
             farrow dump | head -3\n\n\
             and stop them: farrow demo --stop",
            self.config().display()
        )
    }
}

/// Stops what [`Home::keep`] left running.
pub fn stop() -> Result<ExitCode> {
    let home = Home { path: Home::place() };
    let nothing = || told(Exit::No, "no demo is running (nothing was left by `farrow demo --keep`)");
    if !home.path.exists() {
        return Err(nothing());
    }
    home.check()?;
    let Some(running) = home.running()? else {
        return Err(nothing());
    };
    let handles: Vec<_> = running.processes.iter().filter_map(Process::handle).collect();
    for handle in &handles {
        // Gone is as good.
        let _ = pidfd_send_signal(handle, Signal::TERM);
    }
    let mut killed = 0;
    for handle in &handles {
        if !ends(handle)? {
            killed += 1;
            let _ = pidfd_send_signal(handle, Signal::KILL);
            ends(handle)?;
        }
    }
    for path in [home.state(), home.config(), home.path.join("secret")] {
        let _ = fs::remove_file(path);
    }
    let _ = fs::remove_dir(&home.path);
    let mut said = format!("stopped {}", human::plural(handles.len() as u64, "memory node"));
    if killed > 0 {
        said += &format!(", {killed} of them by force: they did not end within {PATIENCE:?}");
    }
    output::say(&said)?;
    Ok(ExitCode::SUCCESS)
}

fn ends(handle: &OwnedFd) -> Result<bool> {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut fds = [PollFd::new(handle, PollFlags::IN)];
    loop {
        match poll(&mut fds, Some(&patience)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for a memory node to end"),
        }
    }
}

impl Process {
    fn of(pid: u32) -> Result<Process> {
        let started = started(pid).with_context(|| format!("cannot see the process {pid} in /proc"))?;
        Ok(Process { pid, started })
    }

    fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// A handle to this very process; `None` when it is gone.
    fn handle(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at while the handle keeps the number from being given to another.
        self.is_alive().then_some(handle)
    }
}

/// When a process started; `None` if there is none, or only what a parent has not waited for.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything; state is the first field behind it, the start the twentieth.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_number() {
        let myself = Process::of(std::process::id()).unwrap();
        assert!(myself.is_alive() && myself.handle().is_some());
        let earlier = Process { started: myself.started - 1, ..myself };
        assert!(!earlier.is_alive() && earlier.handle().is_none());
    }
}
