//! `farrow load`: puts the records of a file.

mod feed;

use crate::connect::{self, Reach};
use crate::exit::{EXIT_CODES, Exit, message, told};
use crate::key;
use crate::{human, output};
use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command};
use farrow_bench::record::{BytesRecord, Records};
use farrow_client::{Cluster, LocalClient, PutRequest};
use farrow_layout::KeyHash;
use feed::{Batch, Feed};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  farrow load packages.jsonl.gz
  farrow load packages.jsonl --bad-lines skip --verify
  farrow dump | farrow load - --cluster-nodes other:7400

Each line is an object with \"key\" and \"value\", both strings; \"key_hex\" and
\"value_hex\" instead hold bytes that are no text, and \"flags\" a number beside the
value. Other members are ignored. Of lines with the same key the last one wins.

A bad line ends the load with exit code 7 (--bad-lines fail, the default): what
stands before it is loaded, and loading the mended file again does no harm. With
--bad-lines skip it is reported and passed over.";

pub fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name);
    let command = Command::new("load")
        .about("Put the records of a file (JSON lines, plain or gzipped)")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The file; `-` is standard input"),
        )
        .arg(
            flag("bad-lines")
                .value_name("WHAT")
                .value_parser(["fail", "skip"])
                .default_value("fail")
                .help("What to do about a line that is no record"),
        )
        .arg(flag("verify").num_args(0).help("Read every record back and compare it byte for byte"))
        .arg(
            flag("threads")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(u16).range(1..=64))
                .default_value("1")
                .help("Threads that put, each with links of its own"),
        )
        .arg(flag("json").num_args(0).help("Print one object instead of the summary"))
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"));
    connect::args(command)
}

/// What was loaded.
#[derive(Default)]
struct Loaded {
    records: u64,
    bytes: u64,
    bad: u64,
    elapsed: Duration,
    /// The line that each key had last; only filled when it is needed.
    last: HashMap<u128, u64>,
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let path = matches.get_one::<PathBuf>("file").expect("required");
    let is_verified = matches.get_flag("verify");
    if is_verified && is_stdin(path) {
        return Err(told(
            Exit::Usage,
            "--verify reads the file twice, and standard input can be read once only",
        ));
    }
    // Before anything is dialled: a mistyped name is the commonest of all errors.
    let (records, bar) = open(path, "loading")?;
    let reach = Reach::load(matches, "load")?;
    let cluster = reach.cluster()?;
    let skips = matches.get_one::<String>("bad-lines").is_some_and(|what| what == "skip");
    let threads = usize::from(*matches.get_one::<u16>("threads").expect("has a default"));
    let loaded = put_all(&reach, &cluster, records, &bar, Choice { skips, threads, is_verified });
    bar.finish_and_clear();
    let loaded = loaded?;
    let verified = is_verified.then(|| verify(&reach, &cluster, path, &loaded)).transpose()?;
    summary(matches.get_flag("json"), &loaded, verified)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy)]
struct Choice {
    skips: bool,
    threads: usize,
    is_verified: bool,
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The file's records, and a bar that moves as its bytes are read.
fn open(path: &Path, what: &'static str) -> Result<(Records, ProgressBar)> {
    let cannot = || format!("cannot read {}", path.display());
    if is_stdin(path) {
        let bar = ProgressBar::new_spinner();
        bar.set_style(style(&format!("{what} {{bytes}} {{bytes_per_sec}} {{msg}}")));
        return Ok((Records::from_reader(bar.wrap_read(io::stdin())).with_context(cannot)?, bar));
    }
    let file = File::open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    if metadata.is_dir() {
        return Err(told(Exit::Other, format!("{} is a directory", path.display())));
    }
    let bar = ProgressBar::new(metadata.len());
    bar.set_style(style(&format!("{what} [{{bar:30}}] {{bytes}} of {{total_bytes}}, {{eta}} left  {{msg}}")));
    let records = Records::from_reader(bar.wrap_read(file)).with_context(cannot)?;
    Ok((records, bar))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is right").progress_chars("=> ")
}

/// Puts everything. Threads own keys, so that of two lines with one key the later one is put later.
fn put_all(
    reach: &Reach,
    cluster: &Cluster,
    mut records: Records,
    bar: &ProgressBar,
    choice: Choice,
) -> Result<Loaded> {
    let begun = Instant::now();
    let mut loaded = Loaded::default();
    let outcome: Result<()> = std::thread::scope(|scope| {
        let mut feeds = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..choice.threads {
            let (feed, batches) = Feed::new();
            feeds.push(feed);
            let client =
                move || -> Result<()> { put_batches(&cluster.local_client(&reach.options)?, &batches) };
            threads.push(std::thread::Builder::new().name("farrow-load".into()).spawn_scoped(scope, client)?);
        }
        let fed = read_all(&mut records, &mut feeds, bar, choice, &mut loaded);
        // Even after an error: what was read before it is to be there.
        let sent: Vec<_> = feeds.into_iter().map(Feed::finish).collect();
        let mut puts = Ok(());
        for thread in threads {
            let put = thread.join().expect("a load thread does not panic");
            puts = puts.and(put);
        }
        // A thread that failed says more than the feed that found it gone.
        puts?;
        fed?;
        sent.into_iter().collect()
    });
    loaded.elapsed = begun.elapsed();
    outcome.map(|()| loaded)
}

fn read_all(
    records: &mut Records,
    feeds: &mut [Feed],
    bar: &ProgressBar,
    choice: Choice,
    loaded: &mut Loaded,
) -> Result<()> {
    while let Some(line) = records.next_bytes() {
        let record = match line {
            Ok(record) => record,
            Err(bad) if choice.skips => {
                loaded.bad += 1;
                bar.suspend(|| eprintln!("farrow: {bad} (skipped)"));
                continue;
            }
            Err(bad) => {
                let n = loaded.records;
                let before = human::plural(n, "record");
                let was = if n == 1 { "was" } else { "were" };
                let hint = match bad.why.ends_the_file() {
                    true => "",
                    false => "; mend it, or pass over such lines with --bad-lines skip",
                };
                return Err(told(Exit::BadInput, format!("{bad} ({before} before it {was} loaded{hint})")));
            }
        };
        let hash = KeyHash::of(&record.key).raw();
        if choice.is_verified {
            loaded.last.insert(hash, record.line);
        }
        loaded.records += 1;
        loaded.bytes += (record.key.len() + record.value.len()) as u64;
        if loaded.records.is_multiple_of(4096) {
            bar.set_message(human::plural(loaded.records, "record"));
        }
        let owner = (hash % feeds.len() as u128) as usize;
        feeds[owner].push(record)?;
    }
    Ok(())
}

fn put_batches(client: &LocalClient, batches: &Receiver<Batch>) -> Result<()> {
    for batch in batches {
        let requests: Vec<_> =
            batch.iter().map(|r| PutRequest::new(&r.key, &r.value).flags(r.flags)).collect();
        let results = client.block_on(client.put_many(&requests));
        for (record, result) in batch.iter().zip(results) {
            result.with_context(|| format!("line {}: put `{}`", record.line, key::show(&record.key)))?;
        }
    }
    Ok(())
}

/// Reads every record back. Returns how many there were, and how long it took.
fn verify(reach: &Reach, cluster: &Cluster, path: &Path, loaded: &Loaded) -> Result<(u64, Duration)> {
    let begun = Instant::now();
    let client = cluster.local_client(&reach.options)?;
    let (mut records, bar) = open(path, "reading back")?;
    let mut checked = 0;
    let mut wrong = Vec::new();
    let mut batch: Batch = Vec::new();
    loop {
        let line = records.next_bytes();
        let is_end = line.is_none();
        if let Some(Ok(record)) = line
            // Of several lines with one key the last one counts.
            && loaded.last.get(&KeyHash::of(&record.key).raw()) == Some(&record.line)
        {
            batch.push(record);
        }
        if batch.len() == feed::BATCH_RECORDS || is_end {
            checked += batch.len() as u64;
            compare(&client, &batch, &mut wrong)?;
            batch.clear();
        }
        if is_end {
            break;
        }
    }
    bar.finish_and_clear();
    if let Some(first) = wrong.first() {
        let n = human::count(wrong.len() as u64);
        return Err(told(
            Exit::Corrupt,
            format!("{n} of {} records read back differently, first {first}", human::count(checked)),
        ));
    }
    Ok((checked, begun.elapsed()))
}

fn compare(client: &LocalClient, batch: &[BytesRecord], wrong: &mut Vec<String>) -> Result<()> {
    let keys: Vec<_> = batch.iter().map(|record| &record.key).collect();
    for (record, result) in batch.iter().zip(client.block_on(client.get_many(&keys))) {
        let what = || format!("line {}, key `{}`", record.line, key::show(&record.key));
        let is_same = match result {
            Ok(value) => {
                value.is_some_and(|v| v.flags() == record.flags && v.with(|bytes| bytes == record.value))
            }
            Err(error) if crate::exit::of_operation(&error) == Exit::Corrupt => false,
            Err(error) => {
                let error = anyhow::Error::from(error);
                return Err(told(crate::exit::code(&error), format!("{}: {}", what(), message(&error))));
            }
        };
        if !is_same {
            wrong.push(what());
        }
    }
    Ok(())
}

fn summary(is_json: bool, loaded: &Loaded, verified: Option<(u64, Duration)>) -> Result<()> {
    let per_s = human::per_second(loaded.records, loaded.elapsed);
    if is_json {
        let object = json!({
            "records": loaded.records,
            "bytes": loaded.bytes,
            "bad_lines": loaded.bad,
            "elapsed_s": loaded.elapsed.as_secs_f64(),
            "records_per_s": per_s,
            "verified": verified.map(|(count, time)| json!({ "keys": count, "elapsed_s": time.as_secs_f64() })),
        });
        output::json(&object)?;
        return Ok(());
    }
    let rate = (loaded.bytes as f64 / loaded.elapsed.as_secs_f64().max(1e-9)) as u64;
    let mut lines = vec![
        format!("loaded     {}", human::plural(loaded.records, "record")),
        format!("           {} of keys and values", human::bytes(loaded.bytes)),
        format!(
            "in         {:.2} s, {} records/s, {}/s",
            loaded.elapsed.as_secs_f64(),
            human::count(per_s.round() as u64),
            human::bytes(rate)
        ),
    ];
    if loaded.bad > 0 {
        lines.push(format!("skipped    {}", human::plural(loaded.bad, "bad line")));
    }
    if let Some((keys, time)) = verified {
        let keys = human::plural(keys, "key");
        lines.push(format!("read back  {keys}, byte for byte the same, in {:.2} s", time.as_secs_f64()));
    }
    output::say(&lines.join("\n"))?;
    Ok(())
}
