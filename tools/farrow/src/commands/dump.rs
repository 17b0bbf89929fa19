//! `farrow dump`: all keys and values of a cluster.

mod find;
mod sink;

use crate::connect::{self, Reach};
use crate::exit::{EXIT_CODES, Exit, told};
use crate::scan::Scan;
use crate::{human, key};
use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command};
use farrow_client::LocalClient;
use farrow_layout::SlotAddr;
use find::{Found, find};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use sink::Sink;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow dump > all.jsonl
  farrow dump --output all.jsonl.gz       compressed, since the name says so
  farrow dump | head -1

Each line is an object with \"key\" and \"value\" (\"key_hex\" and \"value_hex\" where they
are no text), and \"flags\" where they are not 0: what `farrow load` reads. The order
means nothing.

Each value was its key's value at a moment while the dump ran; it is not a snapshot:
keys that are put or deleted meanwhile may be in it or not. With --output, FILE
appears when the dump is complete; until then it is FILE.part.";

/// Keys read together.
const BATCH: usize = 64;

pub fn command() -> Command {
    let command = Command::new("dump")
        .about("Print all keys and values as JSON lines")
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Write to a file; compressed if its name ends with .gz [default: standard output]"),
        )
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"));
    connect::args(command)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let reach = Reach::load(matches, "dump")?;
    let client = reach.local()?;
    let mut sink = Sink::open(matches.get_one::<PathBuf>("output"))?;
    let slots = client.plan().slots_per_partition() * u64::from(client.map().partitions());
    let bar = ProgressBar::new(slots);
    let style = ProgressStyle::with_template("dumping [{bar:30}] {percent} % of the index  {msg}");
    bar.set_style(style.expect("the template is right").progress_chars("=> "));
    // Between a program that reads us and a bar that both write to the terminal, the program wins.
    if sink.is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let counted = dump(&reach, &client, &mut sink, &bar);
    bar.finish_and_clear();
    let counted = counted?;
    sink.finish()?;
    if matches.contains_id("output") {
        let size = human::bytes(counted.bytes);
        eprintln!("dumped {}, {size} of keys and values", human::plural(counted.keys, "key"));
    }
    if counted.corrupt > 0 {
        let n = human::plural(counted.corrupt, "entry");
        let n = n.replace("entrys", "entries");
        return Err(told(
            Exit::Corrupt,
            format!("{n} could not be read on any replica and left out, see above"),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Counted {
    keys: u64,
    bytes: u64,
    corrupt: u64,
}

fn dump(reach: &Reach, client: &LocalClient, sink: &mut Sink, bar: &ProgressBar) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for entry in &client.map().homes {
        let home = client.block_on(client.view(entry.id))?;
        let primary = home.primary();
        let members: Vec<_> = home.members().iter().map(|m| (&m.link, &m.segment)).collect();
        for partition in 0..client.plan().geometry().partitions {
            let mut scan = Scan::new(
                client.fabric(),
                &primary.link,
                &primary.segment,
                partition,
                reach.options.deadline,
            );
            while let Some(piece) = scan.piece()? {
                bar.inc(piece.len() as u64);
                for (index, slot) in piece.into_iter().filter(|(_, slot)| slot.word().is_visible()) {
                    let at = SlotAddr { partition, index };
                    match client.block_on(find(client, &members, at, slot.word()))? {
                        Found::Key(key) => keys.push(key),
                        Found::Gone => {}
                        Found::Corrupt(why) => {
                            counted.corrupt += 1;
                            bar.suspend(|| eprintln!("farrow: home {} slot {}: {why}", home.id(), index.0));
                        }
                    }
                    if keys.len() == BATCH {
                        write(client, &mut keys, sink, &mut counted, bar)?;
                    }
                }
            }
        }
    }
    write(client, &mut keys, sink, &mut counted, bar)?;
    Ok(counted)
}

fn write(
    client: &LocalClient,
    keys: &mut Vec<Vec<u8>>,
    sink: &mut Sink,
    counted: &mut Counted,
    bar: &ProgressBar,
) -> Result<()> {
    for (key, result) in keys.iter().zip(client.block_on(client.get_many(keys))) {
        let value = match result {
            Ok(Some(value)) => value,
            Ok(None) => continue,
            Err(error) if crate::exit::of_operation(&error) == Exit::Corrupt => {
                counted.corrupt += 1;
                bar.suspend(|| eprintln!("farrow: key `{}`: {error}", key::show(key)));
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("get `{}`", key::show(key))),
        };
        let mut object = Map::new();
        key::put(&mut object, "key", key);
        value.with(|bytes| key::put(&mut object, "value", bytes));
        if value.flags() != 0 {
            object.insert("flags".to_owned(), json!(value.flags()));
        }
        sink.line(&Value::from(object))?;
        counted.keys += 1;
        counted.bytes += (key.len() + value.len()) as u64;
    }
    keys.clear();
    bar.set_message(human::plural(counted.keys, "key"));
    Ok(())
}
