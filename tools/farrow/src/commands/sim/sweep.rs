//! `farrow sim sweep`: seed after seed.

use super::{Subject, bar, clusters, json, protocol, protocol_of, quietly, violation};
use crate::{human, output};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};
use farrow_simulate::{Coordinated, Family, Sweep, Swept, Whole};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// Seeds without a limit of time.
const SEEDS: u64 = 20_000;

const EXAMPLES: &str = "\
Examples:
  farrow sim sweep                              20,000 seeds of colocated
  farrow sim sweep --protocol snapshot --minutes 5
  farrow sim sweep --first 1000000 --seeds 1000
  farrow sim sweep --whole --minutes 5          clusters instead of single homes
  farrow sim sweep --coordinated --minutes 5    clusters that lose nodes and go on

Beside what was found it says how often each rare path of the protocol was
taken: a search that never saw a backup repaired has not searched for much.";

pub fn command() -> Command {
    let number =
        |name: &'static str| Arg::new(name).long(name).value_name("NUMBER").value_parser(value_parser!(u64));
    Command::new("sweep")
        .about("Run seed after seed, on all cores")
        .arg(protocol())
        .args(clusters())
        .arg(number("first").default_value("0").help("The first seed"))
        .arg(number("seeds").help("How many; 20000 unless --minutes is given"))
        .arg(number("minutes").value_name("MINUTES").help("Begin no further seed after this long"))
        .arg(json())
        .after_help(EXAMPLES)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let protocol = protocol_of(matches);
    let (subject, commit) = (Subject::of(matches, protocol)?, protocol.commit());
    let again = format!("{}--protocol {} --trace", subject.flag(), protocol.name());
    match subject {
        Subject::Home => sweep(matches, protocol, &again),
        Subject::Whole => sweep(matches, Whole { commit }, &again),
        Subject::Coordinated => sweep(matches, Coordinated { commit }, &again),
    }
}

/// `again` are the arguments that show one seed of the family.
fn sweep<F: Family>(matches: &ArgMatches, family: F, again: &str) -> Result<ExitCode> {
    let number = |name| matches.get_one::<u64>(name).copied();
    let minutes = number("minutes");
    let count = number("seeds").unwrap_or(if minutes.is_some() { u64::MAX } else { SEEDS });
    let sweep = Sweep {
        first: number("first").expect("has a default"),
        most: minutes.map_or(Duration::MAX, |m| Duration::from_secs(m.saturating_mul(60))),
        ..Sweep::of(family, count)
    };
    let bar = match count {
        u64::MAX => bar(None, "sweeping {msg} {elapsed}"),
        _ => bar(Some(count), "sweeping [{bar:30}] {pos}/{len} {msg} {eta}"),
    };
    let swept = quietly(|| {
        sweep.run(|histories| {
            bar.set_position(histories);
            bar.set_message(format!("{} histories", human::count(histories)));
        })
    });
    bar.finish_and_clear();
    let (name, never) = (sweep.family.name(), swept.never_seen(sweep.family));
    if matches.get_flag("json") {
        output::json(&object(&name, &never, &swept))?;
    } else {
        output::say(&text(&name, &never, &swept))?;
    }
    match swept.failed.first() {
        None => Ok(ExitCode::SUCCESS),
        Some((seed, said)) => Err(violation(said, &format!("farrow sim --seed {seed} {again}"))),
    }
}

fn object(runs: &str, never: &[&str], swept: &Swept) -> serde_json::Value {
    json!({
        "runs": runs,
        "histories": swept.histories,
        "operations": swept.operations,
        "unknown": swept.unknown,
        "events": swept.events,
        "elapsed_s": swept.elapsed.as_secs_f64(),
        "paths": swept.seen,
        "never": never,
        "failed_seeds": swept.failed.iter().map(|(seed, said)| json!({ "seed": seed, "said": said })).collect::<Vec<_>>(),
    })
}

fn text(runs: &str, never: &[&str], swept: &Swept) -> String {
    let mut lines = vec![
        format!("runs       {runs}"),
        format!(
            "histories  {} in {:.1} s, {} a second",
            human::count(swept.histories),
            swept.elapsed.as_secs_f64(),
            human::rate(swept.histories, swept.elapsed)
        ),
        format!(
            "           {}, {} of unknown outcome, {}",
            human::plural(swept.operations, "operation"),
            human::count(swept.unknown),
            human::plural(swept.events, "event")
        ),
    ];
    for (index, (path, times)) in swept.seen.iter().enumerate() {
        let head = if index == 0 { "paths" } else { "" };
        lines.push(format!("{head:<10} {path:<20} {:>12}", human::count(*times)));
    }
    if !never.is_empty() {
        lines.push(format!("never      {}", never.join(", ")));
    }
    for (seed, said) in &swept.failed {
        lines.push(format!("FAILED     seed {seed}: {}", said.lines().next().unwrap_or_default()));
    }
    lines.join("\n")
}
