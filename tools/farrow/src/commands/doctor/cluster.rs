//! The way to every node that is configured.

use super::Check;
use crate::connect::Reach;
use crate::exit::message;
use crate::human;
use crate::probe::Probe;
use farrow_client::{DialError, Session};
use farrow_config::Loaded;

const AREA: &str = "node";

/// One line a node, and one for the secret.
pub fn checks(loaded: &Loaded) -> Vec<Check> {
    let nodes = &loaded.config.cluster.nodes;
    if nodes.is_empty() {
        return vec![Check::ok("cluster", "no cluster.nodes: no cluster is looked at (try `farrow demo`)")];
    }
    let secret = match loaded.config.cluster.load_secret() {
        Ok(secret) => secret,
        Err(error) => {
            let todo = "without the secret no node answers: mend this, then try again";
            return vec![Check::fail("cluster", error.to_string(), todo)];
        }
    };
    let reach = Reach::of(loaded.clone(), secret, "doctor");
    let reach = &reach;
    let mut checks: Vec<Check> = std::thread::scope(|scope| {
        let looks: Vec<_> = nodes.iter().map(|address| scope.spawn(move || node(reach, address))).collect();
        looks.into_iter().map(|look| look.join().expect("looking does not panic")).collect()
    });
    checks.extend(one_cluster(reach));
    checks
}

fn node(reach: &Reach, address: &str) -> Check {
    let probe = match Probe::dial(reach, address) {
        Ok(probe) => probe,
        Err(error) => return unreachable(address, &error),
    };
    let choice = probe.session().choice();
    let time = match probe.time_a_read() {
        Ok(time) => human::nanos(time.as_nanos().min(u64::MAX.into()) as u64),
        Err(error) => {
            let what = format!(
                "{address}: the link over {} was made, but reading failed: {}",
                choice.transport,
                message(&error)
            );
            return Check::fail(
                AREA,
                what,
                "a firewall that drops RDMA (UDP port 4791), or another GID: set fabric.gid_index",
            );
        }
    };
    let what = format!(
        "{address} is {}; secret accepted; over {} ({}); a READ takes {time}",
        probe.node(),
        choice.transport,
        choice.reason
    );
    match choice.is_fallback {
        true => {
            Check::warn(AREA, what, "another transport was preferred; set fabric.require to refuse this one")
        }
        false => Check::ok(AREA, what),
    }
}

fn unreachable(address: &str, error: &DialError) -> Check {
    let todo = match error {
        DialError::Connect { .. } => {
            "start `farrow node` there; check the address, and that no firewall is in between"
        }
        DialError::Channel { source: farrow_control::Error::WrongSecret, .. } => {
            "copy the file that cluster.secret_file names from one machine to all of them"
        }
        DialError::Channel { source: farrow_control::Error::TimedOut, .. } => {
            "something listens there and says nothing: see whether the node's process is stopped or its machine overloaded"
        }
        DialError::Channel { .. } => "check that it is a node of the same release, and see its log",
        DialError::Address { .. } => "write it as host:port",
        DialError::Transport { .. } => {
            "see the lines on RDMA above, or set fabric.transport = \"auto\" and fabric.require = \"none\""
        }
        _ => "see the node's log",
    };
    let error = error.to_string();
    let error = error.strip_prefix("node ").unwrap_or(&error);
    let what = if error.contains(address) { error.to_owned() } else { format!("{address}: {error}") };
    Check::fail(AREA, what, todo)
}

/// Whether the nodes that answer belong together.
fn one_cluster(reach: &Reach) -> Option<Check> {
    let answering =
        reach.nodes().iter().filter_map(|address| Session::dial_control(address, &reach.dial).ok());
    let answering: Vec<_> = answering.collect();
    let first = answering.first()?;
    for other in &answering[1..] {
        if let Some(difference) = first.welcome().map.difference(&other.welcome().map) {
            let what =
                format!("{} and {} are not of one cluster: {difference}", first.address(), other.address());
            return Some(Check::fail("cluster", what, "make the [cluster] section the same on all nodes"));
        }
    }
    let map = &first.welcome().map;
    let missing: Vec<_> = map
        .nodes
        .iter()
        .map(|n| n.address.as_str())
        .filter(|a| !reach.nodes().iter().any(|node| node == a))
        .collect();
    if !missing.is_empty() {
        let what = format!(
            "cluster \"{}\" has nodes that cluster.nodes does not list: {}",
            map.name,
            missing.join(", ")
        );
        return Some(Check::warn("cluster", what, "list them all, so that any of them can be asked first"));
    }
    let what = format!("{} of {} answer, all of cluster \"{}\"", answering.len(), map.nodes.len(), map.name);
    Some(match answering.len() == map.nodes.len() {
        true => Check::ok("cluster", what),
        false => Check::fail("cluster", what, "a client needs all of them: start the others"),
    })
}
