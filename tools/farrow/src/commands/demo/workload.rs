//! What a demo does with its cluster.

use super::records::Records;
use crate::exit::{Exit, told};
use crate::human;
use crate::key;
use anyhow::{Context, Result};
use farrow_bench::record::BytesRecord;
use farrow_bench::workload::key_choice::{KeyChooser, KeyDistribution, YCSB_THETA};
use farrow_client::{Cluster, Error, LocalClient, OpKind, OpStats, Options, PutRequest, Value};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Records put or read together while loading.
const BATCH: usize = 64;
/// Of a hundred operations of the mixed workload, those that are GETs.
const GETS_OF_100: u32 = 95;
/// Between two looks of the progress line.
const TICK: Duration = Duration::from_millis(100);

/// What one kind of operation did in one phase.
pub struct Phase {
    /// How long the phase took.
    pub elapsed: Duration,
    /// Nanoseconds an operation; nothing where operations went in batches.
    pub latency: Option<Histogram<u64>>,
    /// Counts and costs.
    pub stats: OpStats,
}

/// Puts every record.
pub fn load(cluster: &Cluster, options: &Options, records: &Records) -> Result<Phase> {
    let client = cluster.local_client(options)?;
    let begun = Instant::now();
    let bar = bar(records, "loading");
    for batch in records.all().chunks(BATCH) {
        let requests: Vec<_> =
            batch.iter().map(|r| PutRequest::new(&r.key, &r.value).flags(r.flags)).collect();
        for (record, result) in batch.iter().zip(client.block_on(client.put_many(&requests))) {
            result.with_context(|| format!("put `{}`", key::show(&record.key)))?;
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(phase(&client, OpKind::Put, begun.elapsed()))
}

/// Reads every record and compares it.
pub fn read_back(cluster: &Cluster, options: &Options, records: &Records) -> Result<Phase> {
    let client = cluster.local_client(options)?;
    let begun = Instant::now();
    let bar = bar(records, "reading back");
    for batch in records.all().chunks(BATCH) {
        let keys: Vec<_> = batch.iter().map(|record| &record.key).collect();
        for (record, result) in batch.iter().zip(client.block_on(client.get_many(&keys))) {
            compare(record, result)?;
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(phase(&client, OpKind::Get, begun.elapsed()))
}

fn bar(records: &Records, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(records.len() as u64);
    let style = ProgressStyle::with_template(&format!("{what} [{{bar:30}}] {{human_pos}} of {{human_len}}"));
    bar.set_style(style.expect("the template is right").progress_chars("=> "));
    bar
}

fn phase(client: &LocalClient, kind: OpKind, elapsed: Duration) -> Phase {
    let stats = client.stats().ops.remove(&kind).unwrap_or_default();
    Phase { elapsed, latency: None, stats }
}

fn compare(record: &BytesRecord, result: Result<Option<Value>, Error>) -> Result<()> {
    let key = || key::show(&record.key);
    match result.with_context(|| format!("get `{}`", key()))? {
        Some(value) if value.with(|bytes| bytes == record.value) => Ok(()),
        Some(value) => {
            let (got, put) = (value.len(), record.value.len());
            Err(told(
                Exit::Corrupt,
                format!("`{}` reads back as {got} other bytes than the {put} that were put", key()),
            ))
        }
        None => Err(told(Exit::Corrupt, format!("`{}` was put and is not there", key()))),
    }
}

/// Longer latencies count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// What all threads share.
struct Shared<'a> {
    records: &'a [BytesRecord],
    /// GETs and PUTs that have ended.
    done: [AtomicU64; 2],
    is_over: AtomicBool,
}

/// What one thread did: GETs, then PUTs.
type Tally = [(Histogram<u64>, OpStats); 2];

/// Runs GETs and PUTs for some time. Every value that is read is compared.
pub fn mixed(
    cluster: &Cluster,
    options: &Options,
    records: &Records,
    duration: Duration,
    threads: u32,
) -> Result<[(&'static str, Phase); 2]> {
    let shared = Shared { records: records.all(), done: Default::default(), is_over: AtomicBool::new(false) };
    let begun = Instant::now();
    let tallies: Result<Vec<Tally>> = std::thread::scope(|scope| {
        let spawn = |thread| {
            let shared = &shared;
            let work = move || {
                let tally =
                    cluster.local_client(options).map_err(Into::into).and_then(|c| run(&c, shared, thread));
                // One that fails ends the others.
                shared.is_over.fetch_or(tally.is_err(), Ordering::Relaxed);
                tally
            };
            std::thread::Builder::new().name(format!("farrow-demo-{thread}")).spawn_scoped(scope, work)
        };
        let workers = (0..threads).map(spawn).collect::<Result<Vec<_>, _>>();
        if workers.is_ok() {
            watch(&shared, begun, duration);
        }
        shared.is_over.store(true, Ordering::Relaxed);
        workers?.into_iter().map(|worker| worker.join().expect("a demo thread does not panic")).collect()
    });
    let elapsed = begun.elapsed();
    let [mut gets, mut puts] = [nothing(), nothing()];
    for [get, put] in tallies? {
        add(&mut gets, &get);
        add(&mut puts, &put);
    }
    let phase = |(latency, stats)| Phase { elapsed, latency: Some(latency), stats };
    Ok([("get", phase(gets)), ("put", phase(puts))])
}

fn nothing() -> (Histogram<u64>, OpStats) {
    // With bounds: one that grows on demand does not grow for a saturating record.
    (Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are good"), OpStats::default())
}

fn add(sum: &mut (Histogram<u64>, OpStats), more: &(Histogram<u64>, OpStats)) {
    sum.0.add(&more.0).expect("a histogram that grows takes everything");
    let (ours, theirs) = (&mut sum.1, &more.1);
    ours.count += theirs.count;
    ours.round_trips += theirs.round_trips;
    ours.conflicts += theirs.conflicts;
    ours.foreground.add(&theirs.foreground);
    ours.background.add(&theirs.background);
}

/// Shows how it goes until the time is over.
fn watch(shared: &Shared, begun: Instant, duration: Duration) {
    let bar = ProgressBar::new(duration.as_millis() as u64);
    let style = ProgressStyle::with_template("working [{bar:30}] {msg}").expect("the template is right");
    bar.set_style(style.progress_chars("=> "));
    let mut before = 0;
    while begun.elapsed() < duration && !shared.is_over.load(Ordering::Relaxed) {
        std::thread::sleep(TICK.min(duration.saturating_sub(begun.elapsed())));
        let [gets, puts] = [&shared.done[0], &shared.done[1]].map(|done| done.load(Ordering::Relaxed));
        let now = human::rate(gets + puts - before, TICK);
        before = gets + puts;
        bar.set_position(begun.elapsed().as_millis() as u64);
        bar.set_message(format!("{now} ops/s; {} GETs, {} PUTs", human::count(gets), human::count(puts)));
    }
    bar.finish_and_clear();
}

fn run(client: &LocalClient, shared: &Shared, thread: u32) -> Result<Tally> {
    let keys = shared.records.len() as u64;
    let mut chooser = KeyChooser::new(KeyDistribution::Zipfian { theta: YCSB_THETA }, keys, 1, thread);
    let mut kinds = SmallRng::seed_from_u64(thread.into());
    let [mut gets, mut puts] = [nothing(), nothing()];
    let mut is_full = false;
    while !shared.is_over.load(Ordering::Relaxed) {
        let record = &shared.records[chooser.choose(keys) as usize];
        let is_get = is_full || kinds.random_range(0..100) < GETS_OF_100;
        let begun = Instant::now();
        let histogram = if is_get {
            let result = client.block_on(client.get(&record.key));
            let elapsed = begun.elapsed();
            compare(record, result)?;
            shared.done[0].fetch_add(1, Ordering::Relaxed);
            (&mut gets.0, elapsed)
        } else {
            // The same value again: whoever reads meanwhile can compare.
            let request = PutRequest::new(&record.key, &record.value).flags(record.flags);
            match client.block_on(client.put_with(&request)) {
                Ok(_) => {}
                Err(Error::Full { .. }) => {
                    is_full = true;
                    continue;
                }
                Err(error) => return Err(error).with_context(|| format!("put `{}`", key::show(&record.key))),
            }
            shared.done[1].fetch_add(1, Ordering::Relaxed);
            (&mut puts.0, begun.elapsed())
        };
        let (histogram, elapsed) = histogram;
        histogram.saturating_record(elapsed.as_nanos().min(u64::MAX.into()) as u64);
    }
    if is_full {
        eprintln!(
            "farrow: the nodes are full: what PUTs replace is not reclaimed yet; from then on there were GETs only"
        );
    }
    let mut ops = client.stats().ops;
    gets.1 = ops.remove(&OpKind::Get).unwrap_or_default();
    puts.1 = ops.remove(&OpKind::Put).unwrap_or_default();
    Ok([gets, puts])
}
