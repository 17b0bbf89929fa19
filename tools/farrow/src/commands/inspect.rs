//! `farrow inspect`: the structures in a live node's memory, read with one-sided verbs.

mod blocks;
pub mod bucket;
mod entry;
mod fields;
mod segment;
mod slots;
mod superblock;

use crate::connect::{self, Reach};
use crate::exit::{EXIT_CODES, Exit, told};
use crate::key;
use crate::output;
use crate::probe::Probe;
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use farrow_client::Session;
use farrow_control::map::{ClusterMap, MemberEntry};
use farrow_layout::{HomeId, KeyHash, NodeId, SegmentPlan};
use serde_json::Value;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow inspect superblock --node 1      the first bytes of a node's memory
  farrow inspect segment 0 --node 1       which home's replica a segment is
  farrow inspect bucket greeting          the key's two combined buckets, words decoded
  farrow inspect entry greeting           the key's entry: header and bytes
  farrow inspect slots --node 1           how full the index is; --list prints every slot in use
  farrow inspect blocks --node 1          the block table: who has which extent

Everything is read from the node's memory as a client reads it; the node's daemon
takes no part. Other nodes may be down. Without --node: node 0, or for a key the
primary of its home. docs/layout.md describes the structures.";

pub fn command() -> Command {
    let node = || {
        Arg::new("node")
            .long("node")
            .value_name("NUMBER")
            .help("Which node's memory, by its number in `farrow status`")
    };
    let json = || Arg::new("json").long("json").num_args(0).help("Print one object");
    let list = |help| Arg::new("list").long("list").num_args(0).help(help);
    let part = |name: &'static str, about: &'static str| {
        connect::args(Command::new(name).about(about).arg(node()).arg(json()))
    };
    let number = Arg::new("segment")
        .value_name("NUMBER")
        .required(true)
        .value_parser(clap::value_parser!(u32))
        .help("The segment, counted from 0");
    Command::new("inspect")
        .about("Print the structures in a node's memory")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(part("superblock", "The first bytes of a node's memory"))
        .subcommand(part("segment", "A segment's header and what lies where in it").arg(number))
        .subcommand(part("bucket", "The two combined buckets of a key").args(key::args(false)))
        .subcommand(part("entry", "A key's entry: header, key, value").args(key::args(false)))
        .subcommand(part("slots", "Slots of all segments").arg(list("Print every slot in use")))
        .subcommand(
            part("blocks", "The block table of all segments")
                .arg(list("Print every extent that is not free")),
        )
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"))
}

/// One structure, for people and for machines.
struct View {
    text: String,
    json: Value,
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let (what, matches) = matches.subcommand().expect("clap requires one");
    let key = matches!(what, "bucket" | "entry").then(|| key::one(matches)).transpose()?;
    let reach = Reach::load(matches, "inspect")?;
    let map = map(&reach)?;
    let node = node(matches, &map, key.as_deref())?;
    let probe = Probe::dial(&reach, &map.nodes[usize::from(node.0)].address)?;
    let view = match (what, key) {
        ("superblock", _) => superblock::view(&probe)?,
        ("segment", _) => segment::view(&probe, *matches.get_one("segment").expect("required"))?,
        ("bucket", Some(key)) => bucket::view(&probe, &map, &key)?,
        ("entry", Some(key)) => entry::view(&probe, &map, &key)?,
        ("slots", _) => slots::view(&probe, &map, matches.get_flag("list"))?,
        _ => blocks::view(&probe, &map, matches.get_flag("list"))?,
    };
    match matches.get_flag("json") {
        true => output::json(&view.json)?,
        false => output::print(&view.text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The map of the first node that answers, or else the coordinator's.
pub fn map(reach: &Reach) -> Result<ClusterMap> {
    let mut first_error = None;
    for address in reach.nodes() {
        match Session::dial_control(address, &reach.dial) {
            Ok(session) => {
                let map = session.welcome().map.clone();
                return match map.defect() {
                    None => Ok(map),
                    Some(why) => Err(told(
                        Exit::Corrupt,
                        format!("node {address} sent a map that cannot be used: {why}"),
                    )),
                };
            }
            Err(error) => drop(first_error.get_or_insert(error)),
        }
    }
    match (first_error, super::status::coordination::ask(reach, None)) {
        (_, Some(Ok(status))) => Ok(status.map),
        (Some(error), _) => Err(error.into()),
        (None, Some(Err(why))) => Err(told(Exit::Unavailable, why)),
        (None, None) => Err(farrow_client::ConnectError::NoNodes.into()),
    }
}

fn node(matches: &ArgMatches, map: &ClusterMap, key: Option<&[u8]>) -> Result<NodeId> {
    let members = key.map(|key| &map.homes[usize::from(map.route(KeyHash::of(key)).0.0)].members);
    let Some(text) = matches.get_one::<String>("node") else {
        return Ok(members.map_or(NodeId(0), |members| members[0].node));
    };
    let known =
        text.strip_prefix('n').unwrap_or(text).parse().ok().filter(|n| usize::from(*n) < map.nodes.len());
    let Some(node) = known.map(NodeId) else {
        let last = map.nodes.len() - 1;
        return Err(told(Exit::Usage, format!("there is no node `{text}`: nodes are numbered 0 to {last}")));
    };
    if let Some(members) = members
        && !members.iter().any(|m| m.node == node)
    {
        let nodes: Vec<_> = members.iter().map(|m| m.node.to_string()).collect();
        return Err(told(
            Exit::Usage,
            format!("node {node} holds no copy of this key: {} do", nodes.join(", ")),
        ));
    }
    Ok(node)
}

/// A segment of the probed node, and whose replica it is.
struct Hosted {
    segment: u32,
    home: HomeId,
    rank: usize,
    plan: SegmentPlan,
}

/// The segments of the probed node, in order.
fn hosted(probe: &Probe, map: &ClusterMap) -> Result<Vec<Hosted>> {
    let plan = probe.plan()?;
    let mut all = Vec::new();
    for home in &map.homes {
        for (rank, MemberEntry { node, segment }) in home.members.iter().enumerate() {
            if *node == probe.node() {
                all.push(Hosted { segment: *segment, home: home.id, rank, plan: plan.segment(*segment) });
            }
        }
    }
    all.sort_by_key(|hosted| hosted.segment);
    Ok(all)
}

/// The replica of a key's home on the probed node, and the partition within it.
fn replica(probe: &Probe, map: &ClusterMap, key: &[u8]) -> Result<(Hosted, u32)> {
    let (home, partition) = map.route(KeyHash::of(key));
    let found = hosted(probe, map)?.into_iter().find(|hosted| hosted.home == home);
    Ok((found.expect("the node was chosen among the home's members"), partition))
}

fn role(rank: usize) -> String {
    if rank == 0 { "primary".to_owned() } else { format!("backup {rank}") }
}
