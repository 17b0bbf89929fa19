//! A network of one's own, in which single processes lose their way to the coordinator.
//!
//! Shared memory is handed out over sockets that are visible within one network namespace, so all processes live in one. What
//! tells them apart there is their user: a rule of the routing policy drops what one user sends to the coordinator's address.

use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Where the coordinator listens: an address that nobody else has.
pub const COORDINATOR: &str = "10.77.0.1";
/// The user of the first node; the next one has the next.
const FIRST_USER: u32 = 20_000;

/// Who is cut off from the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A node.
    Node(usize),
    /// Nodes, clients, everybody.
    Everybody,
}

/// The user that a node runs as.
pub fn user(number: usize) -> u32 {
    FIRST_USER + number as u32
}

/// Makes the network. This process must be in a network namespace of its own: rules of the machine's are changed.
///
/// # Errors
/// Not allowed, or there is no `ip`.
pub fn make() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["address", "add", &format!("{COORDINATOR}/32"), "dev", "lo"])?;
    // Rules are asked in order, and that of local addresses comes first unless it is moved.
    ip(&["rule", "add", "pref", "10", "lookup", "local"])?;
    ip(&["rule", "del", "pref", "0", "lookup", "local"])
}

/// Drops what is sent to the coordinator, or does so no more.
///
/// # Errors
/// The rule is refused.
pub fn set(cut: Cut, is_cut: bool) -> Result<()> {
    let verb = if is_cut { "add" } else { "del" };
    let rule = ["rule", verb, "pref", "1", "to", COORDINATOR];
    let users = match cut {
        Cut::Node(number) => vec!["uidrange".to_owned(), format!("{0}-{0}", user(number))],
        Cut::Everybody => Vec::new(),
    };
    let mut words: Vec<&str> = rule.to_vec();
    words.extend(users.iter().map(String::as_str));
    words.push("blackhole");
    ip(&words)
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).output().context("cannot run ip")?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", words.join(" "), why.trim());
    Ok(())
}
