//! One process of the cluster.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How processes are started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// A program and its arguments that end in [`crate::leash`]; `--user=N`, parent, program and arguments are added.
    pub leash: Vec<OsString>,
    /// Where logs go.
    pub dir: PathBuf,
}

/// A running process. Dropping it kills it.
pub struct Process {
    child: Child,
    log: PathBuf,
    is_paused: bool,
}

impl Launch {
    /// Starts `program`; what it says goes to a log called `name`, behind what is there already.
    ///
    /// # Errors
    /// The program cannot be started. One that starts and fails is found by [`Process::ended`].
    pub fn start(&self, name: &str, program: &OsString, args: &[OsString]) -> Result<Process> {
        self.start_as(None, name, program, args, &[])
    }

    /// As [`Launch::start`], as another user and with more in its environment.
    ///
    /// # Errors
    /// As there.
    pub fn start_as(
        &self,
        user: Option<u32>,
        name: &str,
        program: &OsString,
        args: &[OsString],
        environment: &[(&str, &str)],
    ) -> Result<Process> {
        let log = self.dir.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log);
        let out = out.with_context(|| format!("cannot write {}", log.display()))?;
        let (leash, before) = self.leash.split_first().context("no program to start others with")?;
        let user = user.map(|user| format!("--user={user}"));
        let child = Command::new(leash)
            .args(before)
            .args(user)
            .envs(environment.iter().copied())
            .arg(std::process::id().to_string())
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Process { child, log, is_paused: false })
    }
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input. Dropped, it ends.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Kills it as if the machine had lost power. Dropping it waits until it is gone, which takes a while where it has much
    /// memory.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Stops it where it is: it neither runs nor ends.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.is_paused = true;
    }

    /// Lets it run on.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.is_paused = false;
    }

    /// Whether it is stopped just now.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // One that has ended is found out elsewhere.
            let _ = kill_process(pid, signal);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            match self.ended() {
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                ended => return ended,
            }
        }
    }

    /// The end of what it said.
    pub fn last_words(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<_> = said.lines().collect();
        match lines.len() {
            0 => "it left no word".to_owned(),
            n => lines[n.saturating_sub(8)..].join("\n"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}
