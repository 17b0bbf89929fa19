//! `farrow forget`: a memory node is gone for good.

use crate::exit::{Exit, told};
use crate::{log, output};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use farrow_control::coordination::{Ask, Denial, Tell};
use farrow_layout::NodeId;
use farrow_transport::{CallError, Caller};
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  farrow forget n3 --cluster-coordinators 10.0.0.8:7300

A node that says nothing is passed over by itself, as long as another one has a copy of all that
it holds. Only when all nodes of some home are silent are they waited for: one of them may come
back with the last copy. This command says that the node will not: what only it held is lost, and
everything else goes on. The node must be stopped. One that starts again at the same address needs
no such word.";

/// For the answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn command() -> Command {
    let command = Command::new("forget")
        .about("Say that a silent memory node is gone for good, with its memory")
        .arg(
            Arg::new("node")
                .required(true)
                .value_name("NODE")
                .value_parser(node)
                .help("The node, as `farrow status` names it: n3"),
        )
        .after_help(EXAMPLES);
    farrow_config::args(command, &["cluster", "log"])
}

fn node(text: &str) -> Result<NodeId, String> {
    let number = text.strip_prefix('n').unwrap_or(text);
    number.parse().map(NodeId).map_err(|_| "write a node as `farrow status` does: n3".to_owned())
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let loaded = farrow_config::load(matches, farrow_config::environment())?;
    log::start(&loaded, true);
    let cluster = &loaded.config.cluster;
    if cluster.coordinators.is_empty() {
        return Err(told(Exit::Usage, "only a coordinator forgets nodes: set cluster.coordinators"));
    }
    let node = *matches.get_one::<NodeId>("node").expect("clap requires it");
    let mut caller = Caller::new(cluster.coordinators.clone(), cluster.load_secret()?, "farrow forget");
    match caller.call(&Ask::Forget { node }, PATIENCE) {
        Ok(Tell::Done) => output::say(&format!("{node} is not waited for any more"))?,
        Ok(other) => return Err(told(Exit::Other, caller.confused(&other).to_string())),
        Err(CallError::Denied { denial: Denial::Bad(why), .. }) => return Err(told(Exit::Usage, why)),
        Err(error) => return Err(told(Exit::Unavailable, error.to_string())),
    }
    Ok(ExitCode::SUCCESS)
}
