//! One measurement: load, lose a node with nobody there, lose another one while clients work.

use super::memcpy_rate;
use super::worker::{Call, Labour, Latency, Workers, key};
use crate::now_ns;
use crate::storm::filler;
use anyhow::{Context, Result, bail, ensure};
use farrow_chaos::{Deployment, Launch, Settings};
use farrow_client::{DialOptions, LocalClient};
use farrow_control::Secret;
use farrow_control::coordination::CoordinatorStatus;
use farrow_control::message::{Reply, Request, SegmentStats};
use farrow_layout::NodeId;
use farrow_transport::Session;
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// For copies to come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nodes bring each other's memory near at the lowest priority: what is lost in the first seconds of a cluster says little.
const SETTLING: Duration = Duration::from_secs(4);
/// What clients do before their first call counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// Share of reads.
const READS: f64 = 0.5;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Restore {
    /// What is deployed.
    pub settings: Settings,
    /// This program.
    pub program: OsString,
    /// Where logs go.
    pub dir: PathBuf,
    /// Bytes of values that are loaded.
    pub bytes: u64,
    /// Bytes of a value.
    pub value_len: usize,
    /// Clients that work while the second node is lost.
    pub clients: usize,
    /// Calls a second of each.
    pub rate: f64,
    /// How long they work before that.
    pub quiet: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Bytes a second of memcpy, one thread.
    pub memcpy: f64,
    /// Without clients.
    pub idle: Copied,
    /// With clients.
    pub busy: Copied,
    /// Of calls before the node was lost.
    pub quiet: Both,
    /// Of calls that began after views had changed and before all copies were there.
    pub restoring: Both,
}

/// How long all copies of a node took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Copied {
    /// Bytes of extents in use and of the index.
    pub bytes: u64,
    /// From the change of view until every home had all of its copies, in seconds.
    pub seconds: f64,
}

/// Reads and writes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Both {
    /// Calls that read.
    pub reads: Option<Latency>,
    /// Calls that write.
    pub writes: Option<Latency>,
}

impl Copied {
    /// Bytes a second.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }
}

impl Both {
    fn of(calls: &[Call], from_ns: u64, to_ns: u64) -> Both {
        let took = |is_read: bool| {
            let mine =
                calls.iter().filter(|c| c.is_read == is_read && (from_ns..to_ns).contains(&c.began_ns));
            Latency::of(mine.map(|c| c.took_ns).collect())
        };
        Both { reads: took(true), writes: took(false) }
    }
}

/// Makes clients of this process, through coordinators.
pub type Connect = fn(&[String], &Secret) -> Result<(LocalClient, DialOptions)>;

/// Measures.
///
/// # Errors
/// Copies do not come back, or the run itself failed.
pub fn run(restore: &Restore, connect: Connect, say: &mut dyn FnMut(String)) -> Result<Measured> {
    let memcpy = memcpy_rate();
    say(format!("memcpy: {:.1} GB/s", memcpy / 1e9));
    let leash = vec![restore.program.clone(), "leash".into()];
    let launch = Launch { leash, dir: restore.dir.clone() };
    let mut deployment = Deployment::start(restore.settings.clone(), launch)?;
    let (coordinators, secret) = (deployment.coordinator_addresses(), deployment.secret().clone());
    let keys = (restore.bytes / restore.value_len as u64).max(1) as usize;
    let options = {
        let (client, options) = connect(&coordinators, &secret)?;
        for number in 0..keys {
            client.block_on(client.put(&key(number), &filler(restore.value_len, number as u64)))?;
        }
        options
    };
    say(format!("loaded {keys} values of {} bytes, {} copies", restore.value_len, restore.settings.copies));

    thread::sleep(SETTLING);
    let idle = lose(&mut deployment, 0, &options)?.0;
    say(format!("without clients: {}", idle.in_words()));
    deployment.start_node(0)?;
    let begin_ns = now_ns();
    while deployment.identity(0).is_none() {
        ensure!(now_ns() - begin_ns < PATIENCE.as_nanos() as u64, "node 0 does not come back");
        deployment.supervise()?;
        thread::sleep(Duration::from_millis(5));
    }

    let labour = Labour { keys, value_len: restore.value_len, reads: READS, rate: restore.rate };
    thread::sleep(SETTLING);
    let workers = Workers::start(restore.clients, labour, move || Ok(connect(&coordinators, &secret)?.0))?;
    let begin_ns = now_ns();
    thread::sleep(WARM_UP + restore.quiet);
    let killed_ns = now_ns();
    let (busy, from_ns, to_ns) = lose(&mut deployment, 1, &options)?;
    let calls = workers.stop()?;
    say(format!("with clients: {}", busy.in_words()));
    let quiet = Both::of(&calls, begin_ns + WARM_UP.as_nanos() as u64, killed_ns);
    Ok(Measured { memcpy, idle, busy, quiet, restoring: Both::of(&calls, from_ns, to_ns) })
}

impl Copied {
    fn in_words(&self) -> String {
        format!("{:.0} MB in {:.0} ms", self.bytes as f64 / 1e6, self.seconds * 1e3)
    }
}

/// Kills a node: what was copied, when its homes had opened again, and when they had all of their copies.
fn lose(deployment: &mut Deployment, number: usize, options: &DialOptions) -> Result<(Copied, u64, u64)> {
    let identity = deployment.identity(number).context("the node is not there")?;
    let session = Session::dial_control(&deployment.running()[number], options)?;
    let Reply::Stats(stats) = session.call(&Request::Stats)? else {
        bail!("a node does not say what it holds")
    };
    ensure!(stats.node == identity, "another node answers");
    let used = |s: &SegmentStats| s.block_bytes - s.free_bytes + s.index_bytes;
    let bytes = stats.segments.iter().map(used).sum();
    let killed_ns = now_ns();
    deployment.kill_node(number);
    // Counted from the last answer that did not know of the change yet: never too short.
    let (mut before_ns, mut has_changed) = (killed_ns, false);
    loop {
        ensure!(
            now_ns() - killed_ns < PATIENCE.as_nanos() as u64,
            "copies do not come back:\n{}",
            deployment.explain()
        );
        thread::sleep(Duration::from_micros(500));
        let Some(seen) = deployment.watch().latest().filter(|seen| seen.asked_ns > killed_ns) else {
            continue;
        };
        has_changed |= has_moved_on(&seen.status, identity);
        if !has_changed {
            before_ns = seen.asked_ns;
        } else if deployment.missing_since(killed_ns).is_none() {
            let to_ns = now_ns();
            return Ok((Copied { bytes, seconds: (to_ns - before_ns) as f64 / 1e9 }, before_ns, to_ns));
        }
    }
}

/// Whether every home goes on without `node`.
fn has_moved_on(status: &CoordinatorStatus, node: NodeId) -> bool {
    status.map.homes.iter().all(|home| !home.has_member(node))
}
