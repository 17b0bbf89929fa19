//! `farrow status`: what the nodes say of themselves, and how this machine would reach them.

pub(super) mod coordination;
mod report;

use crate::connect::{self, Reach};
use crate::exit::{EXIT_CODES, Exit};
use crate::output;
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use farrow_client::{DialError, Session};
use farrow_control::coordination::CoordinatorStatus;
use farrow_control::map::{ClusterMap, NodeEntry};
use farrow_control::message::{NodeStats, Reply, Request};
use farrow_transport::Choice;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow status
  farrow status --json

Asks every node's control plane; nodes that do not answer are listed with the
reason, and the command ends with 3. Byte counts of homes are those of the primary;
every other member holds as much. STORED are entries in sealed extents, replaced
ones included; OPEN are extents that clients append to, ORPHANED those of them whose
client is gone. In a coordinated cluster the coordinator is asked too: EXPOSED are homes with
fewer copies than the policy wants, with what is being done about it.";

pub fn command() -> Command {
    let command = Command::new("status")
        .about("Show the nodes of the cluster, their memory and how they are reached")
        .arg(Arg::new("json").long("json").num_args(0).help("Print one object"))
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"));
    connect::args(command)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let reach = Reach::load(matches, "status")?;
    let cluster = look(&reach);
    match matches.get_flag("json") {
        true => output::json(&report::json(&cluster))?,
        false => output::print(&report::text(&cluster))?,
    }
    let is_well = cluster.nodes.iter().all(NodeView::is_well) && coordination::is_well(&cluster);
    Ok(if is_well { ExitCode::SUCCESS } else { Exit::Unavailable.into() })
}

/// What was found.
pub struct ClusterView {
    /// The cluster as the first node that answered knows it.
    pub map: Option<ClusterMap>,
    /// One for each live node of the map, or of the configuration when nobody answered.
    pub nodes: Vec<NodeView>,
    /// Nodes that the cluster goes on without.
    pub lost: Vec<NodeEntry>,
    /// What the coordinator says; none in a static cluster.
    pub coordination: Option<Result<CoordinatorStatus, String>>,
}

/// One node.
pub struct NodeView {
    /// Its number.
    pub number: usize,
    /// Its control address.
    pub address: String,
    /// What it says of itself, or why it says nothing.
    pub answer: Result<NodeAnswer, String>,
}

/// A node that answered.
pub struct NodeAnswer {
    /// Its state.
    pub stats: NodeStats,
    /// How its memory would be reached from here, or why it would not.
    pub reached: Result<Choice, String>,
    /// How its map differs from the first one, in words.
    pub difference: Option<String>,
}

impl NodeView {
    /// Whether it can be used, and agrees with the others.
    fn is_well(&self) -> bool {
        self.answer.as_ref().is_ok_and(|a| a.reached.is_ok() && a.difference.is_none())
    }
}

fn look(reach: &Reach) -> ClusterView {
    let told = super::inspect::map(reach).ok();
    let coordination = coordination::ask(reach, told.as_ref());
    let map = match &coordination {
        Some(Ok(status)) => Some(status.map.clone()),
        _ => told,
    };
    let (up, lost) = match &map {
        Some(map) => map.nodes.iter().cloned().partition(NodeEntry::is_up),
        None => (Vec::new(), Vec::new()),
    };
    let addresses: Vec<(usize, String)> = match &map {
        Some(_) => up.iter().map(|node: &NodeEntry| (usize::from(node.id.0), node.address.clone())).collect(),
        None => reach.nodes().iter().cloned().enumerate().collect(),
    };
    // All at once: a dead node costs its time-out once.
    let nodes = std::thread::scope(|scope| {
        let asked: Vec<_> =
            addresses.iter().map(|(_, a)| scope.spawn(|| ask(reach, a, map.as_ref()))).collect();
        let answers = asked.into_iter().map(|thread| thread.join().expect("asking does not panic"));
        addresses
            .iter()
            .zip(answers)
            .map(|((number, address), answer)| {
                let answer = answer.map_err(|error| strip(&error.to_string(), address));
                NodeView { number: *number, address: address.clone(), answer }
            })
            .collect()
    });
    ClusterView { map, nodes, lost, coordination }
}

fn ask(reach: &Reach, address: &str, map: Option<&ClusterMap>) -> Result<NodeAnswer, DialError> {
    let (session, reached) = match Session::dial(address, &reach.dial) {
        Ok(session) => {
            let choice = session.choice().clone();
            (session, Ok(choice))
        }
        // It lives, but its memory is out of reach.
        Err(DialError::Transport { why, .. }) => (Session::dial_control(address, &reach.dial)?, Err(why)),
        Err(error) => return Err(error),
    };
    let difference = map.and_then(|map| map.difference(&session.welcome().map));
    match session.call(&Request::Stats)? {
        Reply::Stats(stats) => Ok(NodeAnswer { stats: *stats, reached, difference }),
        other => Err(session.confused(&other)),
    }
}

/// A reason without the address that stands beside it already.
fn strip(why: &str, address: &str) -> String {
    why.strip_prefix(&format!("node {address}: ")).unwrap_or(why).to_owned()
}
