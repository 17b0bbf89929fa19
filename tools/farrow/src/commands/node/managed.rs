//! A memory node that another `farrow` started: orders and answers are lines of JSON on standard input and output.
//!
//! ```text
//!  starter                                     node
//!  Begin { config, secret }      ──────────►   takes a port
//!                                ◄──────────   Bound(address)
//!  Join { nodes }                ──────────►   makes its memory, serves
//!                                ◄──────────   Ready
//!  "keep"                        ──────────►   stays when standard input ends
//!                                ◄──────────   Kept
//! ```
//!
//! Standard input that ends before "keep" ends the node: whoever started it is gone, however that came.

use super::serve;
use crate::exit::{Exit, told};
use crate::log;
use anyhow::{Context, Result};
use farrow_config::{Config, Loaded};
use farrow_control::Secret;
use farrow_node::Daemon;
use rustix::process::{Signal, getpid, kill_process, setsid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

/// The first order.
#[derive(Serialize, Deserialize)]
pub struct Begin {
    /// The configuration, as TOML.
    pub config: String,
    /// The cluster's secret: here it is seen by nobody who lists processes.
    pub secret: String,
}

/// The second order.
#[derive(Serialize, Deserialize)]
pub struct Join {
    /// All nodes of the cluster.
    pub nodes: Vec<String>,
}

/// What the node answers to each order.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Its address.
    Bound(String),
    /// It serves.
    Ready,
    /// It stays.
    Kept,
}

/// The third order, and the last.
pub const KEEP: &str = "keep";

pub fn run() -> Result<ExitCode> {
    // Out of the terminal's process group: Ctrl-C is the starter's to hear. Fails for a leader of a group, which is
    // what nobody but a debugger makes of us.
    let _ = setsid();
    let begin: Begin = order()?;
    let config = Config::from_toml_str(&begin.config)?;
    let loaded = Loaded::from_config(config.clone());
    log::start(&loaded, false);
    let secret = Secret::from_bytes(&begin.secret).map_err(|e| told(Exit::Usage, e.to_string()))?;
    let bound = Daemon::bind(&config)?;
    answer(&Answer::Bound(bound.advertised().to_owned()))?;
    let join: Join = order()?;
    let daemon = bound.serve(&join.nodes, &secret)?;
    answer(&Answer::Ready)?;
    let watch = || {
        if !is_kept() {
            // As if somebody had told us to: an orderly stop.
            let _ = kill_process(getpid(), Signal::TERM);
        }
    };
    std::thread::Builder::new().name("farrow-starter".into()).spawn(watch)?;
    serve(daemon)
}

/// Waits for "keep" or for the end of standard input.
fn is_kept() -> bool {
    let mut line = String::new();
    let is_kept = matches!(io::stdin().lock().read_line(&mut line), Ok(1..)) && line.trim() == KEEP;
    is_kept && answer(&Answer::Kept).is_ok()
}

fn order<T: DeserializeOwned>() -> Result<T> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read orders from standard input")?;
    if line.is_empty() {
        return Err(told(Exit::Other, "standard input ended: the program that started this node is gone"));
    }
    serde_json::from_str(&line)
        .map_err(|e| told(Exit::Usage, format!("this is no order (`--managed` is for `farrow demo`): {e}")))
}

fn answer(answer: &Answer) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}
