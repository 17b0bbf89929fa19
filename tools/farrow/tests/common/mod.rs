//! A cluster of real processes, and the command line against it.
#![allow(dead_code)] // Each test program uses its part.

pub mod deployed;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const SECRET: &str = "a secret of the tests";

pub struct Nodes {
    pub addresses: Vec<String>,
    pub children: Vec<Child>,
}

/// The binary, without anything of the environment that could configure it.
pub fn farrow() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farrow"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FARROW_")) {
        command.env_remove(name);
    }
    command
}

impl Nodes {
    /// Ports are free when they are chosen, but another test may be faster: then once more with others.
    pub fn start(count: usize) -> Nodes {
        (0..5).find_map(|_| Nodes::try_start(count)).expect("the nodes come up")
    }

    fn try_start(count: usize) -> Option<Nodes> {
        let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<String> = held.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        drop(held);
        let mut nodes = Nodes { addresses, children: Vec::new() };
        for i in 0..count {
            let mut command =
                nodes.command(&["node", "--node-listen", &nodes.addresses[i], "--node-memory", "64MiB"]);
            command.args([
                "--cluster-max-keys",
                "10000",
                "--cluster-policy",
                &format!("replicate:{}", count.min(3)),
            ]);
            nodes.children.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        }
        let begun = Instant::now();
        while nodes.command(&["status"]).output().unwrap().status.code() != Some(0) {
            let died = nodes.children.iter_mut().any(|child| child.try_wait().unwrap().is_some());
            if died || begun.elapsed() > Duration::from_secs(20) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(nodes)
    }

    /// The binary with what it needs to reach this cluster.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = farrow();
        command
            .args(args)
            .env("FARROW_CLUSTER_NODES", self.addresses.join(","))
            .env("FARROW_CLUSTER_SECRET", SECRET);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn signal(&self, node: usize, signal: &str) {
        let pid = self.children[node].id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
