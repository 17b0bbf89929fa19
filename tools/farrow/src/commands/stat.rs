//! `farrow stat`: where a key lives.

use super::inspect::bucket::{self, SlotView};
use crate::connect::{self, Reach};
use crate::exit::{EXIT_CODES, Exit, told};
use crate::{human, key, output};
use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command};
use farrow_client::{LocalClient, ValueInfo};
use farrow_fabric::{Chain, Fabric, Link};
use farrow_layout::{BlockAddr, COMBINED_LEN, KeyHash};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow stat greeting
  farrow stat greeting --json

What the key's value is and where it lies: home and nodes, slot of the index,
position of the entry in its block. `farrow inspect bucket KEY` and `farrow inspect
entry KEY` show the bytes.";

pub fn command() -> Command {
    let [key, hex] = key::args(false);
    let command = Command::new("stat")
        .about("Say where a key lives: home, nodes, slot, block")
        .arg(key)
        .arg(hex)
        .arg(Arg::new("json").long("json").num_args(0).help("Print one object"))
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"));
    connect::args(command)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let key = key::one(matches)?;
    let client = Reach::load(matches, "stat")?.local()?;
    let value = client.block_on(client.get(&key)).with_context(|| format!("stat {}", key::show(&key)))?;
    let Some(value) = value else {
        return Err(told(Exit::No, format!("`{}` is not there", key::show(&key))));
    };
    let info = ValueInfo::of(&value);
    let word = value.word();
    let map = client.map();
    let (home, partition) = map.route(KeyHash::of(&key));
    let members = &map.homes[usize::from(home.0)].members;
    let plan = client.plan();
    let block_at = BlockAddr(word.pointer().offset());
    let block_len = plan.geometry().block_len;
    let slot = slots(&client, &key)?.into_iter().find(|slot| slot.slot.word() == word);

    let mut object = Map::new();
    key::put(&mut object, "key", &key);
    let nodes: Vec<_> = members
        .iter()
        .map(|m| {
            let address = &map.nodes[usize::from(m.node.0)].address;
            json!({ "node": m.node.0, "address": address, "segment": m.segment })
        })
        .collect();
    object.extend([
        ("version".to_owned(), json!(info.version.to_string())),
        ("len".to_owned(), json!(info.len)),
        ("flags".to_owned(), json!(info.flags)),
        ("home".to_owned(), json!(home.0)),
        ("members".to_owned(), json!(nodes)),
        ("partition".to_owned(), json!(partition)),
        // A slot that was changed between the two looks at it is not shown.
        ("slot".to_owned(), json!(slot.as_ref().map(|s| s.index.0))),
        ("pending".to_owned(), json!(slot.as_ref().map(|s| s.slot.is_pending()))),
        ("word".to_owned(), json!(word.to_string())),
        ("block".to_owned(), json!(block_at.0 / block_len)),
        ("offset".to_owned(), json!(block_at.0 % block_len)),
        ("extent".to_owned(), json!(plan.extent_of(block_at))),
    ]);
    if matches.get_flag("json") {
        output::json(&Value::from(object))?;
        return Ok(ExitCode::SUCCESS);
    }
    let member = |m: &farrow_control::map::MemberEntry| {
        format!("{} {} segment {}", m.node, map.nodes[usize::from(m.node.0)].address, m.segment)
    };
    let backups: Vec<_> = members[1..].iter().map(member).collect();
    let slot = match slot {
        Some(s) => format!(
            "{} of partition {partition} ({} bucket){}",
            s.index.0,
            if s.is_main { "main" } else { "overflow" },
            if s.slot.is_pending() { ", pending" } else { "" }
        ),
        None => "changed meanwhile".to_owned(),
    };
    let lines = [
        ("key", key::show(&key)),
        ("version", info.version.to_string()),
        ("length", human::plural(info.len as u64, "byte")),
        ("flags", info.flags.to_string()),
        ("home", home.to_string()),
        ("primary", member(&members[0])),
        ("backups", if backups.is_empty() { "none".to_owned() } else { backups.join(", ") }),
        ("slot", slot),
        ("word", word.to_string()),
        ("block", format!("{}, entry at byte {} of it", block_at.0 / block_len, block_at.0 % block_len)),
        ("extent", plan.extent_of(block_at).to_string()),
    ];
    let text: String = lines.iter().map(|(name, value)| format!("{name:9}{value}\n")).collect();
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The slots of a key's two combined buckets, as they are at the primary now.
fn slots(client: &LocalClient, key: &[u8]) -> Result<Vec<SlotView>> {
    let hash = KeyHash::of(key);
    let (home, partition) = client.map().route(hash);
    let view = client.block_on(client.view(home))?;
    let primary = view.primary();
    let candidates = client.plan().candidates(hash);
    let mut views = Vec::new();
    for (which, candidate) in candidates.into_iter().enumerate() {
        let buffer = client.fabric().buffers().take(COMBINED_LEN)?;
        let read = Chain::new().read(primary.segment.bucket(partition, candidate), buffer.whole());
        client.block_on(primary.link.post(read))?;
        views.extend(buffer.with(|bytes| bucket::views(which, candidate, bytes)));
    }
    Ok(views)
}
