//! Client processes.

use super::work::Mix;
use crate::{Storm, Tally};
use anyhow::{Context, Result, bail};
use farrow_chaos::{Crew, Launch, Process};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// What every client is told.
#[derive(Clone, Debug)]
pub struct Job {
    /// This program.
    pub program: OsString,
    /// Keys, values and seed.
    pub storm: Storm,
    /// Share of reads.
    pub mix: Mix,
    /// Calls a second of each client.
    pub rate: f64,
    /// After so long all clients go on to fresh keys.
    pub fresh_keys: Duration,
    /// Where the coordinators are.
    pub coordinators: String,
    /// The cluster's secret.
    pub secret_file: PathBuf,
}

/// The clients of a run.
pub struct Clients {
    launch: Launch,
    job: Job,
    running: Vec<(u32, Process)>,
    /// Numbers that were given out: 1 to this one.
    last: u32,
}

impl Clients {
    /// Starts `count` clients.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn start(launch: Launch, job: Job, count: usize) -> Result<Clients> {
        let mut clients = Clients { launch, job, running: Vec::new(), last: 0 };
        for _ in 0..count {
            let client = clients.another()?;
            clients.running.push(client);
        }
        Ok(clients)
    }

    fn another(&mut self) -> Result<(u32, Process)> {
        self.last += 1;
        let (number, job) = (self.last, &self.job);
        let mut args: Vec<OsString> = vec!["rage".into(), "--until-told".into()];
        let mut flag = |name: &str, value: String| args.extend([name.into(), OsString::from(value)]);
        flag("--client", number.to_string());
        flag("--keys", job.storm.keys.to_string());
        flag("--value-len", job.storm.value_len.to_string());
        flag("--seed", job.storm.seed.to_string());
        flag("--mix", job.mix.to_string());
        flag("--rate", job.rate.to_string());
        flag("--fresh-keys", format!("{}ms", job.fresh_keys.as_millis()));
        flag("--cluster-coordinators", job.coordinators.clone());
        args.extend(["--cluster-secret-file".into(), job.secret_file.clone().into()]);
        args.extend(["--record".into(), self.record(number).into()]);
        args.extend(["--tally".into(), self.tally(number).into()]);
        let process = self.launch.start(&format!("client-{number}"), &job.program, &args)?;
        Ok((number, process))
    }

    fn record(&self, number: u32) -> PathBuf {
        self.launch.dir.join(format!("client-{number}.jsonl"))
    }

    fn tally(&self, number: u32) -> PathBuf {
        self.launch.dir.join(format!("client-{number}.tally"))
    }

    /// The records of all clients that there ever were.
    pub fn records(&self) -> Vec<PathBuf> {
        // One that was killed at once may have left none.
        (1..=self.last).map(|n| self.record(n)).filter(|path| path.exists()).collect()
    }

    /// Tells all to stop, waits until they have, and says how their calls ended; those of clients that were killed are missing.
    ///
    /// # Errors
    /// One does not stop within `patience`, or fails.
    pub fn stop(&mut self, patience: Duration) -> Result<Vec<Tally>> {
        for (_, process) in &mut self.running {
            drop(process.stdin());
        }
        let mut tallies = Vec::new();
        for (number, mut process) in std::mem::take(&mut self.running) {
            match process.wait(patience) {
                Some(status) if status.success() => {}
                Some(status) => bail!("client {number} failed ({status}):\n{}", process.last_words()),
                None => bail!("client {number} does not stop within {patience:?}:\n{}", process.last_words()),
            }
            let path = self.tally(number);
            let tally = fs::read(&path).with_context(|| format!("client {number} left no tally"))?;
            tallies.push(serde_json::from_slice(&tally)?);
        }
        Ok(tallies)
    }
}

impl Crew for Clients {
    fn count(&self) -> usize {
        self.running.len()
    }

    fn kill(&mut self, which: usize) -> Result<String> {
        self.running[which].1.kill();
        let fresh = self.another()?;
        let (number, _) = std::mem::replace(&mut self.running[which], fresh);
        Ok(format!("client {number}"))
    }

    fn pause(&mut self, which: usize, is_paused: bool) {
        let process = &mut self.running[which].1;
        if is_paused { process.pause() } else { process.resume() }
    }

    fn check(&mut self) -> Result<()> {
        for (number, process) in &mut self.running {
            if let Some(status) = process.ended() {
                bail!("client {number} has ended by itself ({status}):\n{}", process.last_words());
            }
        }
        Ok(())
    }
}
