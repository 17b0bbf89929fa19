//! The memory nodes of a demo: processes that end when this one does.

use crate::commands::node::{Answer, Begin, Join, KEEP};
use crate::exit::{Exit, code, message, told};
use anyhow::{Context, Result, anyhow};
use farrow_client::Secret;
use farrow_config::{Config, Loaded, LogLevel, render_toml};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Running nodes. Dropping it stops them: their standard input ends.
pub struct Nodes {
    nodes: Vec<Node>,
    addresses: Vec<String>,
}

struct Node {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it logs: unlinked, so that nothing of it is left behind.
    log: File,
}

impl Nodes {
    /// Starts `count` nodes with the same configuration, each on a port that the system chose.
    pub fn start(config: &Config, count: u16, secret: &Secret) -> Result<Nodes> {
        let mut config = config.clone();
        config.log.level = LogLevel::Warn;
        let begin = Begin {
            config: render_toml(&Loaded::from_config(config)),
            secret: str::from_utf8(secret.expose()).expect("generated secrets are text").to_owned(),
        };
        let mut nodes = Vec::new();
        for _ in 0..count {
            let mut node = Node::spawn()?;
            node.order(&begin)?;
            nodes.push(node);
        }
        let mut addresses = Vec::new();
        for node in &mut nodes {
            match node.answer()? {
                Answer::Bound(address) => addresses.push(address),
                other => return Err(anyhow!("a memory node answered {other:?} instead of its address")),
            }
        }
        let join = Join { nodes: addresses.clone() };
        nodes.iter_mut().try_for_each(|node| node.order(&join))?;
        for node in &mut nodes {
            match node.answer()? {
                Answer::Ready => {}
                other => return Err(anyhow!("a memory node answered {other:?} instead of serving")),
            }
        }
        Ok(Nodes { nodes, addresses })
    }

    /// Their addresses, in order.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Their processes, in order.
    pub fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.nodes.iter().map(|node| node.child.id())
    }

    /// Has them stay when this process ends.
    pub fn keep(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            let orders = node.orders.as_mut().expect("open until the nodes are stopped");
            writeln!(orders, "{KEEP}")?;
            match node.answer()? {
                Answer::Kept => {}
                other => return Err(anyhow!("a memory node answered {other:?} instead of staying")),
            }
        }
        // Nobody waits for them any more; dropping the pipes does not stop them now.
        self.nodes.clear();
        Ok(())
    }

    /// Stops them, and waits until they are gone.
    pub fn stop(&mut self) {
        // All at once: they stop at the same time.
        self.nodes.iter_mut().for_each(|node| drop(node.orders.take()));
        for mut node in self.nodes.drain(..) {
            let _ = node.child.wait();
        }
    }

    /// Adds to an error what a node that has died said last.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if let Ok(Some(status)) = node.child.try_wait() {
                let said = node.last_words();
                return told(
                    code(&error),
                    format!("{}\nnode n{number} has ended ({status}): {said}", message(&error)),
                );
            }
        }
        error
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Node {
    fn spawn() -> Result<Node> {
        let program = std::env::current_exe().context("cannot find out where this program lies")?;
        let log = tempfile::tempfile().context("cannot make a temporary file")?;
        let mut command = Command::new(program);
        command.args(["node", "--managed"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(log.try_clone()?).current_dir("/");
        let mut child = command.spawn().context("cannot start a memory node")?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Ok(Node { child, orders, answers, log })
    }

    fn order(&mut self, order: &impl serde::Serialize) -> Result<()> {
        let orders = self.orders.as_mut().expect("open until the node is stopped");
        // A node that is gone is told of when its answer is missed.
        let _ = writeln!(orders, "{}", serde_json::to_string(order)?);
        Ok(())
    }

    fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("cannot hear from a memory node")?;
        if line.is_empty() {
            let status = self.child.wait()?;
            let exit = if status.code() == Some(Exit::Usage as i32) { Exit::Usage } else { Exit::Other };
            return Err(told(
                exit,
                format!("a memory node could not start ({status}): {}", self.last_words()),
            ));
        }
        serde_json::from_str(&line).with_context(|| format!("a memory node said `{}`", line.trim()))
    }

    fn last_words(&mut self) -> String {
        let mut said = String::new();
        let read = self.log.rewind().and_then(|()| self.log.read_to_string(&mut said));
        match (read, said.trim()) {
            (Err(_), _) | (_, "") => "it left no word".to_owned(),
            (Ok(_), said) => said.strip_prefix("farrow: ").unwrap_or(said).to_owned(),
        }
    }
}
