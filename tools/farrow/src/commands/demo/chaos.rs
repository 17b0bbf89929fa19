//! `farrow demo --chaos`: nodes are killed and come back while clients work, and nothing is lost.

use super::pulse::Pulse;
use super::records::Records;
use super::workload;
use crate::connect::Reach;
use crate::exit::{Exit, told};
use crate::table::{Side, Table};
use crate::{human, output};
use anyhow::{Context, Result};
use clap::ArgMatches;
use farrow_chaos::{Deployment, Event, Fault, Launch, NoCrew, Plan, Settings, Strike, longest_gap, now_ns};
use farrow_config::{Config, Loaded};
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Short, so that there is something to see: a cluster of machines takes a second or more.
const LEASE: Duration = Duration::from_millis(500);
/// Between two looks of the line that moves.
const TICK: Duration = Duration::from_millis(100);

/// Runs it. `config` says how large everything is.
pub fn run(matches: &ArgMatches, config: Config, records: &Records, duration: Duration) -> Result<ExitCode> {
    let is_json = matches.get_flag("json");
    let nodes = usize::from(*matches.get_one::<u16>("nodes").expect("has a default"));
    let copies = config.cluster.policy.copies();
    let dir = tempfile::Builder::new().prefix("farrow-demo-").tempdir().context("cannot make a directory")?;
    let program = std::env::current_exe().context("cannot find out where this program lies")?;
    let leash = vec![program.clone().into(), "leash".into()];
    let settings = Settings {
        farrow: program,
        coordinators: 1,
        nodes,
        spares: 1,
        copies,
        lease: LEASE,
        // What a node that is gone held has to fit on the others.
        memory: format!("{}KiB", config.node.memory.saturating_mul(2) >> 10),
        max_keys: config.cluster.max_keys,
        restore_bandwidth: config.coordinator.restore_bandwidth,
        is_partitioned: false,
    };
    let random = SmallRng::seed_from_u64(now_ns());
    let launch = Launch { leash, dir: dir.path().to_owned() };
    let mut deployment = Deployment::start(settings, launch)?;
    let mut client_config = config;
    client_config.cluster.name = farrow_chaos::CLUSTER.to_owned();
    client_config.cluster.coordinators = deployment.coordinator_addresses();
    let reach = Reach::of(Loaded::from_config(client_config), deployment.secret().clone(), "demo");
    let cluster = reach.cluster()?;
    let bar = bar(is_json);
    let say = |line: String| match is_json {
        true => {}
        false => bar.suspend(|| drop(output::say(&line))),
    };
    say(format!(
        "started a coordinator, {} and a spare; {copies} copies of everything",
        human::plural(nodes as u64, "memory node")
    ));
    workload::load(&cluster, &reach.options, records)?;
    say(format!(
        "loaded {}; now nodes are killed while clients work",
        human::plural(records.len() as u64, "record")
    ));

    let plan = Plan {
        random,
        duration,
        faults: vec![
            Fault::NodeKill,
            Fault::NodeKill,
            Fault::PairKill,
            Fault::NodePause,
            Fault::CoordinatorKill,
        ],
        patience: Duration::from_secs(60),
        rest: Duration::from_secs(1),
        together: false,
    };
    let threads = u32::from(*matches.get_one::<u16>("threads").expect("has a default"));
    let pulse = Pulse::new(records, threads);
    let begin = now_ns();
    let strikes = std::thread::scope(|scope| -> Result<Vec<Strike>> {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (cluster, options, pulse) = (&cluster, &reach.options, &pulse);
                scope.spawn(move || pulse.work(cluster, options, thread))
            })
            .collect();
        let mut now = Now { bar: &bar, looked: Instant::now(), done: [0; 2], what: "all is well".to_owned() };
        let result = farrow_chaos::run(&mut deployment, &mut NoCrew, &plan, &mut |event| match event {
            Event::Struck(strike) => now.what = describe(strike),
            Event::Mended(strike) => {
                now.what = "all is well".to_owned();
                let took = strike.whole_ns.map_or(0, |whole| whole - strike.at_ns);
                say(format!("{}; every copy is there again after {}", describe(strike), human::nanos(took)));
            }
            Event::Again(_) => {}
            Event::Tick => now.look(&pulse),
        });
        pulse.stop();
        for worker in workers {
            worker.join().map_err(|_| told(Exit::Other, "a client thread has panicked"))??;
        }
        result
    })?;
    let end = now_ns();
    bar.finish_and_clear();
    workload::read_back(&cluster, &reach.options, records)?;
    let kept = pulse.check(&cluster, &reach.options)?;
    let report = Report::of(&strikes, &pulse, begin, end, kept);
    match is_json {
        true => output::json(&report.json())?,
        false => output::print(&report.text(records))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(strike: &Strike) -> String {
    match strike.fault {
        Fault::NodePause | Fault::CoordinatorPause => format!("{} was stopped for a while", strike.target),
        _ => format!("{} killed and started again", strike.target),
    }
}

fn bar(is_hidden: bool) -> ProgressBar {
    let bar = if is_hidden { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is right"));
    bar
}

/// The line that moves.
struct Now<'a> {
    bar: &'a ProgressBar,
    looked: Instant,
    done: [u64; 2],
    what: String,
}

impl Now<'_> {
    fn look(&mut self, pulse: &Pulse) {
        let elapsed = self.looked.elapsed();
        if elapsed < TICK {
            return;
        }
        self.looked = Instant::now();
        let done = pulse.done();
        let rate = |i: usize| human::rate(done[i] - self.done[i], elapsed);
        self.bar.set_message(format!("{} GET, {} PUT; {}", rate(0), rate(1), self.what));
        self.bar.tick();
        self.done = done;
    }
}

/// What happened, and what it cost.
struct Report {
    /// How often, longest gaps of GETs and PUTs, longest until mended; nanoseconds.
    rows: BTreeMap<Fault, (u64, [u64; 2], u64)>,
    whole: [u64; 2],
    done: [u64; 2],
    errors: BTreeMap<String, u64>,
    kept: u64,
}

impl Report {
    fn of(strikes: &[Strike], pulse: &Pulse, begin: u64, end: u64, kept: u64) -> Report {
        let times = pulse.times();
        let mut rows: BTreeMap<Fault, (u64, [u64; 2], u64)> = BTreeMap::new();
        for strike in strikes {
            let until = strike.whole_ns.unwrap_or(end);
            let (count, gaps, mended) = rows.entry(strike.fault).or_default();
            *count += 1;
            for (gap, times) in gaps.iter_mut().zip(&times) {
                *gap = longest_gap(times, strike.at_ns, until).max(*gap);
            }
            *mended = (until - strike.at_ns).max(*mended);
        }
        let whole = [0, 1].map(|i: usize| longest_gap(&times[i], begin, end));
        Report { rows, whole, done: pulse.done(), errors: pulse.errors(), kept }
    }

    fn text(&self, records: &Records) -> String {
        let columns = [
            ("fault", Side::Left),
            ("times", Side::Right),
            ("longest without GET", Side::Right),
            ("without PUT", Side::Right),
            ("every copy back after", Side::Right),
        ];
        let mut table = Table::new(&columns);
        for (fault, (count, gaps, mended)) in &self.rows {
            let [get, put] = gaps.map(human::nanos);
            table.row([fault.to_string(), count.to_string(), get, put, human::nanos(*mended)]);
        }
        let [get, put] = self.whole.map(human::nanos);
        table.row(["all of it".to_owned(), String::new(), get, put, String::new()]);
        let errors: Vec<_> = self.errors.iter().map(|(label, n)| format!("{n} {label}")).collect();
        format!(
            "\n{table}\n{} GET and {} PUT were answered; other ends: {}.\n\
             Nothing is lost: {} and {} read back as they were written.\n",
            human::count(self.done[0]),
            human::count(self.done[1]),
            if errors.is_empty() { "none".to_owned() } else { errors.join(", ") },
            human::plural(records.len() as u64, "record"),
            human::plural(self.kept, "counter"),
        )
    }

    fn json(&self) -> serde_json::Value {
        let millis = |ns: u64| ns as f64 / 1e6;
        let rows: Vec<_> = self.rows.iter().map(|(fault, (count, [get, put], mended))| {
            json!({ "fault": fault.name(), "count": count, "no_get_ms": millis(*get), "no_put_ms": millis(*put),
                    "mended_ms": millis(*mended) })
        }).collect();
        json!({ "faults": rows, "no_get_ms": millis(self.whole[0]), "no_put_ms": millis(self.whole[1]),
                "gets": self.done[0], "puts": self.done[1], "errors": self.errors, "lost": 0 })
    }
}
