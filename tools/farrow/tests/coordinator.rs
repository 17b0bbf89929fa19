//! The coordinator as a program.

mod common;

use common::{SECRET, farrow};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

fn coordinator(store: &str) -> Command {
    let mut command = farrow();
    command.args(["coordinator", "--coordinator-listen", "127.0.0.1:0", "--coordinator-store", store]);
    command.args(["--cluster-secret", SECRET]);
    command
}

fn begin(store: &str) -> (Child, String) {
    let mut child = coordinator(store).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

fn terminate(child: &mut Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn it_says_when_it_is_ready_keeps_its_state_and_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let store = format!("file:{}", path.display());
    for _ in 0..2 {
        let (mut child, ready) = begin(&store);
        assert!(
            ready.starts_with("ready: coordinator of cluster \"farrow\" (replicate:3) at 127.0.0.1:"),
            "{ready}"
        );
        assert!(ready.contains("leading") && ready.contains(path.to_str().unwrap()), "{ready}");
        let address = ready.split(" at ").nth(1).unwrap().split(';').next().unwrap();
        let forget = ["forget", "n3", "--cluster-coordinators", address, "--cluster-secret", SECRET];
        let forgotten = farrow().args(forget).output().unwrap();
        assert!(String::from_utf8_lossy(&forgotten.stderr).contains("there never was a node n3"));
        assert_eq!(forgotten.status.code(), Some(2));
        let second = coordinator(&store).output().unwrap();
        let why = String::from_utf8_lossy(&second.stderr);
        assert!(!second.status.success() && why.contains("another coordinator uses it"), "{why}");
        terminate(&mut child);
        assert!(child.wait().unwrap().success());
    }
    std::fs::write(&path, "rubbish").unwrap();
    let refused = coordinator(&store).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("not the state of a Farrow coordinator"), "{why}");
}

#[test]
fn its_help_teaches() {
    let help = farrow().args(["coordinator", "--help"]).output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    for expected in ["--coordinator-store", "etcd:http://", "on nobody's path", "cluster.nodes_to_form"] {
        assert!(text.contains(expected), "{expected}");
    }
}
