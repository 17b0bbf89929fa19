//! What one run is to do, from the flags.

use crate::workload::key::MAX_KEYS;
use crate::workload::key_choice::KeyDistribution;
use crate::workload::mix::{Mix, OpKind, Plan};
use crate::workload::value::VERSION_LEN;
use crate::workload::value_size::ValueSizes;
use anyhow::{Context, bail, ensure};
use clap::ArgMatches;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What one run is to do.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// As the user wrote it.
    pub(crate) workload: String,
    pub(crate) mix: Mix,
    pub(crate) distribution: String,
    pub(crate) keys: u64,
    /// As the user wrote it.
    pub(crate) value_size: String,
    pub(crate) sizes: ValueSizes,
    pub(crate) threads: u32,
    pub(crate) in_flight: usize,
    /// Operations a second of all threads together; `None` is a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) length: Length,
    pub(crate) warm_up: Length,
    pub(crate) seed: u64,
    pub(crate) verify: bool,
    /// Whether the keys are loaded first, or there already.
    pub(crate) load: bool,
    /// Another store to be measured instead.
    pub(crate) peer: Option<String>,
    pub(crate) json: bool,
    pub(crate) output: Option<PathBuf>,
    pub(crate) is_quiet: bool,
}

/// How long something goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Length {
    /// Operations of all threads together.
    Ops(u64),
    Time(Duration),
}

/// What a time-limited run is expected to reach at most; sizes memory, limits nothing.
const ASSUMED_OPS_PER_THREAD: f64 = 600_000.0;

impl Settings {
    pub(crate) fn from_matches(matches: &ArgMatches) -> anyhow::Result<Settings> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let workload = text("workload").context("--workload has a default")?;
        let mut mix: Mix = workload.parse()?;
        if let Some(distribution) = text("distribution") {
            mix.keys = distribution.parse()?;
        }
        let value_size = text("value-size").context("--value-size has a default")?;
        let length = match (matches.get_one::<u64>("ops"), matches.get_one::<Duration>("seconds")) {
            (Some(ops), _) => Length::Ops(*ops),
            (None, Some(time)) => Length::Time(*time),
            (None, None) => Length::Time(Duration::from_secs(10)),
        };
        let number = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
        let settings = Settings {
            distribution: describe(mix.keys),
            sizes: sizes(&value_size)?,
            workload,
            mix,
            keys: number("keys"),
            value_size,
            threads: u32::try_from(number("bench-threads")).context("--threads is too large")?,
            in_flight: usize::try_from(number("in-flight")).context("--in-flight is too large")?,
            rate: matches.get_one::<f64>("rate").copied(),
            length,
            warm_up: *matches.get_one::<Length>("warm-up").expect("it has a default"),
            seed: number("seed"),
            verify: matches.get_flag("verify"),
            load: !matches.get_flag("no-load"),
            peer: text("peer"),
            json: matches.get_flag("json"),
            output: matches.get_one::<PathBuf>("output").cloned(),
            is_quiet: matches.get_flag("quiet"),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.keys > 0, "--keys is 0: there must be keys to choose from");
        ensure!(self.keys < MAX_KEYS / 2, "--keys is {}: at most {}", self.keys, MAX_KEYS / 2 - 1);
        ensure!((1..=1024).contains(&self.threads), "--threads is {}: give 1 to 1024", self.threads);
        ensure!((1..=1024).contains(&self.in_flight), "--in-flight is {}: give 1 to 1024", self.in_flight);
        ensure!(self.length != Length::Ops(0), "--ops is 0: there is nothing to measure");
        if let Some(rate) = self.rate {
            ensure!(rate > 0.0 && rate <= 1e9, "--rate is {rate}: give operations a second, above 0");
        }
        if self.verify && (self.sizes.smallest() as usize) < VERSION_LEN {
            bail!(
                "--verify needs values of {VERSION_LEN} bytes or more, and --value-size {} has some of {}",
                self.value_size,
                self.sizes.smallest()
            );
        }
        if self.peer.is_some() && self.in_flight > 1 {
            bail!("--peer runs one operation at a time on each connection: leave --in-flight at 1");
        }
        Ok(())
    }

    /// Operations that write a value, warm-up and run together, as far as that can be known.
    pub(crate) fn expected_writes(&self) -> u64 {
        let share: f64 = OpKind::ALL.iter().filter(|k| k.writes()).map(|k| self.mix.share(*k)).sum();
        (self.expected_ops() * share) as u64
    }

    /// Operations that add a key.
    pub(crate) fn expected_inserts(&self) -> u64 {
        (self.expected_ops() * self.mix.share(OpKind::Insert)) as u64
    }

    fn expected_ops(&self) -> f64 {
        let rate = self.rate.unwrap_or(ASSUMED_OPS_PER_THREAD * f64::from(self.threads));
        [self.length, self.warm_up].iter().map(|length| length.expected_ops(rate)).sum()
    }

    /// What each thread's operations follow from.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            mix: self.mix.clone(),
            sizes: self.sizes.clone(),
            loaded_keys: self.keys,
            expected_inserts: self.expected_inserts() / u64::from(self.threads),
            seed: self.seed,
            thread_count: self.threads,
        }
    }
}

impl Length {
    fn expected_ops(self, rate: f64) -> f64 {
        match self {
            Length::Ops(ops) => ops as f64,
            Length::Time(time) => rate * time.as_secs_f64(),
        }
    }

    /// One thread's part of it.
    pub(crate) fn of_thread(self, thread: u32, threads: u32) -> Length {
        match self {
            Length::Ops(ops) => {
                let (thread, threads) = (u64::from(thread), u64::from(threads));
                Length::Ops(ops / threads + u64::from(thread < ops % threads))
            }
            time => time,
        }
    }

    /// Reads `5s` or a number of operations.
    pub(crate) fn parse(text: &str) -> Result<Length, String> {
        if let Ok(ops) = text.parse() {
            return Ok(Length::Ops(ops));
        }
        farrow_config::parse_duration(text).map(Length::Time).map_err(|why| {
            format!("{why}; write a time such as 5s or 500ms, or a plain number of operations")
        })
    }
}

impl std::fmt::Display for Length {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Length::Ops(ops) => write!(f, "{ops}"),
            Length::Time(time) => f.write_str(&farrow_config::print_duration(*time)),
        }
    }
}

fn sizes(text: &str) -> anyhow::Result<ValueSizes> {
    let Some(path) = text.strip_prefix("file:") else {
        return Ok(text.parse()?);
    };
    let reading = || format!("cannot take value sizes from {path}");
    let mut lens = Vec::new();
    for record in crate::record::Records::open(Path::new(path)).with_context(reading)? {
        lens.push(record.with_context(reading)?.value.len());
    }
    ValueSizes::listed(lens).with_context(reading)
}

fn describe(keys: KeyDistribution) -> String {
    match keys {
        KeyDistribution::Uniform => "uniform".into(),
        KeyDistribution::Zipfian { theta } => format!("zipfian:{theta}"),
        KeyDistribution::Ranked { theta } => format!("ranked:{theta}"),
        KeyDistribution::Latest { theta } => format!("latest:{theta}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> anyhow::Result<Settings> {
        let args = [&["bench"], args].concat();
        Settings::from_matches(&crate::cli::command().try_get_matches_from(args)?)
    }

    #[test]
    fn flags_become_settings() {
        let s = settings(&[
            "--workload",
            "get=1,insert=1",
            "--keys",
            "500",
            "--distribution",
            "latest:0.5",
            "--value-size",
            "1KiB",
            "--threads",
            "3",
            "--ops",
            "1000",
            "--warm-up",
            "250ms",
            "--rate",
            "1e5",
            "--in-flight",
            "4",
        ])
        .unwrap();
        assert_eq!((s.keys, s.threads, s.in_flight, s.rate), (500, 3, 4, Some(1e5)));
        assert_eq!(s.distribution, "latest:0.5");
        assert_eq!((s.length, s.warm_up), (Length::Ops(1000), Length::Time(Duration::from_millis(250))));
        assert_eq!(s.expected_writes(), (1000 + 25_000) / 2);
    }

    #[test]
    fn what_cannot_be_run_is_refused_in_words() {
        let refused = |args: &[&str]| settings(args).unwrap_err().to_string();
        assert!(refused(&["--workload", "ycsb-e"]).contains("not supported"));
        assert!(refused(&["--verify", "--value-size", "4"]).contains("8 bytes or more"));
        assert!(refused(&["--peer", "redis:/x", "--in-flight", "2"]).contains("one operation at a time"));
        assert!(refused(&["--threads", "0"]).contains("1 to 1024"));
        assert!(refused(&["--rate", "0"]).contains("--rate"));
        assert!(refused(&["--keys", "0"]).contains("--keys"));
        assert!(refused(&["--value-size", "file:/nonexistent"]).contains("/nonexistent"));
        assert!(refused(&["--warm-up", "5x"]).contains("number of operations"));
    }

    #[test]
    fn operations_are_shared_out_to_the_last() {
        let parts: Vec<Length> = (0..3).map(|t| Length::Ops(11).of_thread(t, 3)).collect();
        assert_eq!(parts, [Length::Ops(4), Length::Ops(4), Length::Ops(3)]);
    }

    #[test]
    fn the_sizes_of_a_file_are_those_of_its_records() {
        let path = concat!("file:", env!("CARGO_MANIFEST_DIR"), "/data/sample.jsonl.gz");
        let s = settings(&["--value-size", path]).unwrap();
        assert!((500.0..1_500.0).contains(&s.sizes.mean()));
    }
}
