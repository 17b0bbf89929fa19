//! `farrow-storm restore`: how fast copies come back, and what clients feel of it.

use anyhow::{Result, ensure};
use clap::{Arg, ArgMatches, value_parser};
use farrow_chaos::Settings;
use farrow_config::parse_size;
use farrow_storm::restore::{Both, Latency, Measured, Restore, run as measure};
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  farrow-storm restore                              512 MiB in two copies on four nodes
  farrow-storm restore --size 2GiB --value-len 4096
  farrow-storm restore --bandwidth 200MiB           under a cap, as coordinator.restore_bandwidth

Starts a coordinator and nodes as processes of their own, loads values, and kills a node
while nobody works; then another one while clients work at a given rate, half of whose
calls read. Restoring is compared with memcpy of one thread in the same run: bytes are
those of extents in use and of the index, time is from the change of view, which ends the
clients' waiting, until every home has all of its copies.";

pub fn command() -> clap::Command {
    let flag = |name: &'static str| Arg::new(name).long(name);
    let number = |name: &'static str, default: &'static str, range: std::ops::RangeInclusive<u64>| {
        flag(name).value_name("NUMBER").default_value(default).value_parser(value_parser!(u64).range(range))
    };
    let size = |name: &'static str, default: &'static str| {
        flag(name).value_name("SIZE").default_value(default).value_parser(parse_size)
    };
    clap::Command::new("restore")
        .about("Measure how fast the copies of a lost node come back, and what clients feel of it")
        .arg(number("nodes", "4", 2..=32).help("Nodes"))
        .arg(number("copies", "2", 2..=8).help("Copies of everything"))
        .arg(size("size", "512MiB").help("Values to load"))
        .arg(size("value-len", "64KiB").help("Bytes of a value"))
        .arg(size("bandwidth", "0B").help("Bytes a second that each order may copy; 0 is no cap"))
        .arg(number("clients", "1", 1..=64).help("Threads that work while the second node is lost"))
        .arg(number("rate", "2000", 1..=1_000_000).help("Calls a second of each"))
        .arg(
            flag("lease")
                .value_name("DURATION")
                .default_value("500ms")
                .value_parser(super::rage::parse_duration)
                .help("Length of a lease"),
        )
        .arg(super::farrow_flag())
        .arg(super::dir_flag("logs"))
        .arg(flag("json").num_args(0).help("Print one object"))
        .after_help(EXAMPLES)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let is_json = matches.get_flag("json");
    let number = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let (program, farrow) = super::programs(matches)?;
    let (bytes, value_len) = (number("size"), number("value-len"));
    ensure!((8..=1 << 20).contains(&value_len), "--value-len {value_len}: say 8B to 1MiB");
    ensure!(number("copies") < number("nodes"), "--copies {} needs one node more", number("copies"));
    // Of a size that one lost node leaves room in the others, and clients room to write.
    let memory = 5 * bytes * number("copies") / (2 * (number("nodes") - 1)) + (256 << 20);
    let temporary = tempfile::Builder::new().prefix("farrow-restore-").tempdir()?;
    let dir = super::dir(matches, &temporary)?;
    let restore = Restore {
        settings: Settings {
            farrow,
            coordinators: 1,
            nodes: number("nodes") as usize,
            spares: 0,
            copies: number("copies") as usize,
            lease: *matches.get_one::<Duration>("lease").expect("it has a default"),
            memory: format!("{}MiB", memory >> 20),
            max_keys: 2 * bytes / value_len + 1000,
            restore_bandwidth: number("bandwidth"),
            is_partitioned: false,
        },
        program: program.into(),
        dir,
        bytes,
        value_len: value_len as usize,
        clients: number("clients") as usize,
        rate: number("rate") as f64,
        quiet: Duration::from_secs(3),
    };
    let mut say = |line: String| {
        if !is_json {
            println!("{line}");
        }
    };
    let measured = measure(&restore, super::connect_to, &mut say)?;
    match is_json {
        true => println!("{}", serde_json::to_string_pretty(&measured)?),
        false => print(&measured),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(measured: &Measured) {
    println!("\n{:<24} {:>10}  {:>12}", "restoring", "GB/s", "of memcpy");
    for (name, copied) in [("without clients", &measured.idle), ("with clients", &measured.busy)] {
        let share = copied.rate() / measured.memcpy;
        println!("{name:<24} {:>10.2}  {:>11.0}%", copied.rate() / 1e9, share * 100.0);
    }
    println!("\n{:<24} {:>8}  {:>10}  {:>10}  {:>10}", "calls, microseconds", "calls", "p50", "p99", "max");
    let both = |when: &str, both: &Both| {
        for (what, latency) in [("reads", &both.reads), ("writes", &both.writes)] {
            if let Some(Latency { calls, p50_us, p99_us, max_us }) = latency {
                println!(
                    "{:<24} {calls:>8}  {p50_us:>10.1}  {p99_us:>10.1}  {max_us:>10.1}",
                    format!("{what}, {when}")
                );
            }
        }
    };
    both("before", &measured.quiet);
    both("restoring", &measured.restoring);
}
