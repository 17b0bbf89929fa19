//! A daemon in a process of its own: ready, told to stop, gone.

mod common;

use common::{config, secret};
use farrow_node::Daemon;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("--serve") => serve(),
        // So that cargo and its friends can list what there is.
        Some("--list") => println!("signals_end_a_daemon_in_good_order: test"),
        _ => {
            signals_end_a_daemon_in_good_order();
            a_daemon_that_is_killed_leaves_its_address();
            println!("wait: ok");
        }
    }
}

fn serve() {
    let mut config = config();
    if let Some(listen) = std::env::args().nth(2) {
        config.node.listen = listen;
    }
    let daemon = Daemon::start(&config, &secret()).unwrap();
    println!("{}", daemon.address());
    daemon.wait().unwrap();
}

fn spawn(args: &[&str], notify: &std::path::Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--serve")
        .args(args)
        .env("NOTIFY_SOCKET", notify)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (child, address.trim().to_owned())
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

fn signals_end_a_daemon_in_good_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let heard = || {
        let mut bytes = [0; 64];
        let len = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    };
    for kind in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let (mut child, address) = spawn(&[], &path);
        assert_eq!(heard(), "READY=1");
        let mut peer = common::Peer::new(TcpStream::connect(&address).unwrap());
        peer.hello();
        signal(&child, kind);
        assert_eq!(heard(), "STOPPING=1");
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(peer.try_call(&farrow_control::message::Request::Stats).is_err());
        assert!(TcpStream::connect(&address).is_err());
    }
}

fn a_daemon_that_is_killed_leaves_its_address() {
    let nobody = std::path::Path::new("");
    let (mut child, address) = spawn(&[], nobody);
    signal(&child, rustix::process::Signal::KILL);
    child.wait().unwrap();
    let (mut child, again) = spawn(&[&address], nobody);
    assert_eq!(again, address);
    signal(&child, rustix::process::Signal::TERM);
    child.wait().unwrap();
}
