//! One run: deploy, work, break, stop, read back, judge.

use super::crew::{Clients, Job};
use super::finals::{orphans, read_back};
use super::matrix::Matrix;
use super::work::Mix;
use crate::{Storm, Tally, now_ns};
use anyhow::{Context, Result, bail};
use farrow_chaos::{Deployment, Event, Fault, Launch, Plan, Settings, is_idle};
use farrow_client::{DialOptions, LocalClient};
use farrow_control::Secret;
use farrow_testkit::history::{History, durability, read_lines};
use farrow_testkit::linear;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Duration;

/// For clients that stop, and for what is left behind to be cleaned up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// What is deployed.
    pub settings: Settings,
    /// This program: clients are further processes of it.
    pub program: OsString,
    /// Where records and logs go.
    pub dir: PathBuf,
    /// Client processes.
    pub clients: usize,
    /// What they do.
    pub mix: Mix,
    /// Calls a second of each.
    pub rate: f64,
    /// Keys that they fight over at a time.
    pub keys: u32,
    /// Bytes of a value.
    pub value_len: usize,
    /// Where all choices come from.
    pub seed: u64,
    /// How long faults are begun.
    pub duration: Duration,
    /// The kinds of faults.
    pub faults: Vec<Fault>,
    /// Whether faults of clients and of the coordinator may fall into the time in which copies are restored.
    pub together: bool,
}

/// What came of it, nothing being lost or wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Where choices came from.
    pub seed: u64,
    /// Nodes that the cluster formed of.
    pub nodes: usize,
    /// What clients did, as on a command line.
    pub mix: String,
    /// What faults cost.
    pub matrix: Matrix,
    /// Keys that were written to.
    pub keys: usize,
    /// Calls.
    pub operations: usize,
    /// Calls whose outcome nobody knows, those of killed clients among them.
    pub unknown: usize,
    /// Calls that failed without effect, by error; those of clients that lived to tell.
    pub errors: BTreeMap<String, u64>,
    /// What the first of each client's failures said.
    pub examples: Vec<String>,
    /// Writes of which it is certain that they took effect: none of them is lost.
    pub certain_writes: usize,
    /// Nodes that were passed over though they were alive, and started again.
    pub passed_over: usize,
}

/// Makes a client of this process, through coordinators.
pub type Connect<'a> = &'a dyn Fn(&[String], &Secret) -> Result<(LocalClient, DialOptions)>;

/// Runs it.
///
/// # Errors
/// Something was lost, wrong or not mended; or the run itself failed. Everything that was started has ended.
pub fn run(chaos: &Chaos, connect: Connect<'_>, say: &mut dyn FnMut(String)) -> Result<Outcome> {
    let random = SmallRng::seed_from_u64(chaos.seed);
    let leash = vec![chaos.program.clone(), "leash".into()];
    let launch = Launch { leash, dir: chaos.dir.clone() };
    let storm = Storm { keys: chaos.keys, operations: 0, seed: chaos.seed, value_len: chaos.value_len };
    let mut deployment = Deployment::start(chaos.settings.clone(), launch.clone())?;
    say(format!(
        "{} nodes and {} spares, {} copies, leases of {:?}; {} clients, mix {}; seed {}",
        chaos.settings.nodes,
        chaos.settings.spares,
        chaos.settings.copies,
        chaos.settings.lease,
        chaos.clients,
        chaos.mix,
        chaos.seed
    ));
    let job = Job {
        program: chaos.program.clone(),
        storm: storm.clone(),
        mix: chaos.mix,
        rate: chaos.rate,
        fresh_keys: Duration::from_secs(2),
        coordinators: deployment.coordinator_addresses().join(","),
        secret_file: deployment.secret_file(),
    };
    let mut clients = Clients::start(launch, job, chaos.clients)?;
    let begin_ns = now_ns();
    let plan = Plan {
        random,
        duration: chaos.duration,
        faults: chaos.faults.clone(),
        patience: Duration::from_secs(15) + 10 * chaos.settings.lease,
        rest: Duration::from_millis(600),
        together: chaos.together,
    };
    let mut passed_over = 0;
    let since = |ns: u64| ns.saturating_sub(begin_ns) as f64 / 1e9;
    let strikes = farrow_chaos::run(&mut deployment, &mut clients, &plan, &mut |event| match event {
        Event::Struck(s) => say(format!("{:8.3} s  {:<18} {}", since(s.at_ns), s.fault, s.target)),
        Event::Mended(s) => {
            let whole_ns = s.whole_ns.unwrap_or(s.at_ns);
            let took = (whole_ns - s.at_ns) / 1_000_000;
            say(format!("{:8.3} s  {:<18} mended after {took} ms", since(whole_ns), s.fault));
        }
        Event::Again(number) => {
            passed_over += 1;
            say(format!("{:8.3} s  node {number} was passed over and starts again", since(now_ns())));
        }
        Event::Tick => {}
    })?;
    let end_ns = now_ns();
    let tallies = clients.stop(PATIENCE)?;
    settle(&mut deployment)?;

    let mut history = History::default();
    for path in clients.records() {
        let file = File::open(&path).with_context(|| format!("cannot open the record {}", path.display()))?;
        history
            .merge(read_lines(BufReader::new(file)).with_context(|| format!("record {}", path.display()))?);
    }
    let matrix = Matrix::of(&history, &strikes, chaos.settings.lease, begin_ns, end_ns);
    // The bill is worth seeing even when the verdict is bad.
    say(format!("\n{matrix}"));
    let (client, dial) = connect(&deployment.coordinator_addresses(), deployment.secret())?;
    let before = history.clone();
    let finals = read_back(&client, &storm, &mut history)?;
    let kept = durability::check(&before, &finals).map_err(|losses| {
        let losses: Vec<_> = losses.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{} keys do not hold what was acknowledged:\n{}", losses.len(), losses.join("\n"))
    })?;
    let report = match linear::check(&history) {
        Ok(report) => report,
        Err(linear::Failure::Violation(violation)) => bail!("not linearizable:\n{}", violation.page),
        Err(other) => bail!("{other}"),
    };
    drop(client);
    settle(&mut deployment)?;
    no_orphans(&deployment, &dial)?;
    let (errors, examples) = sum(&tallies);
    Ok(Outcome {
        seed: chaos.seed,
        nodes: chaos.settings.nodes,
        mix: chaos.mix.to_string(),
        matrix,
        keys: report.keys,
        operations: report.operations,
        unknown: report.unknown,
        errors,
        examples,
        certain_writes: kept.certain_writes,
        passed_over,
    })
}

/// Waits until every copy is there and no order is left.
fn settle(deployment: &mut Deployment) -> Result<()> {
    let begin = now_ns();
    loop {
        let status = deployment.wait_whole(PATIENCE)?;
        if is_idle(&status) {
            return Ok(());
        }
        if now_ns() - begin > PATIENCE.as_nanos() as u64 {
            bail!("after {PATIENCE:?} there are orders that are not done\n{}", deployment.explain());
        }
    }
}

fn no_orphans(deployment: &Deployment, dial: &DialOptions) -> Result<()> {
    let begin = now_ns();
    loop {
        // A node that was passed over may be starting anew just now.
        let found = orphans(&deployment.running(), dial);
        if matches!(&found, Ok(found) if found.is_empty()) {
            return Ok(());
        }
        if now_ns() - begin > PATIENCE.as_nanos() as u64 {
            let explained = deployment.explain();
            bail!("extents without an owner are not cleaned up: {}\n{explained}", found?.join("; "));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn sum(tallies: &[Tally]) -> (BTreeMap<String, u64>, Vec<String>) {
    let mut errors = BTreeMap::new();
    for (label, n) in tallies.iter().flat_map(|t| &t.failed) {
        *errors.entry(label.clone()).or_default() += n;
    }
    (errors, tallies.iter().filter_map(|t| t.example.clone()).collect())
}
