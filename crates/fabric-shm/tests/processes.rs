//! Daemons and clients in processes of their own, killed and stopped.

mod common;

use common::{NODE, Node, add_one, fabric, long_chain, post, read_word};
use farrow_fabric::{Effect, Link, Mapping, VerbError, Why};
use farrow_fabric_shm::{Passed, ShmLink, ShmPeer, peer_process, receive_grant, send_grant};
use farrow_layout::{RemoteAddr, ShmLink as LinkRecord};
use rustix::process::{Pid, Signal, WaitIdOptions, kill_process};
use std::mem::offset_of;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const LEN: usize = 32 << 20;
const ROLE: &str = "FARROW_TEST_ROLE";
const SOCKET: &str = "FARROW_TEST_SOCKET";

/// Not a test but the other process of the tests below, which start this binary again with a role to play.
#[test]
fn other_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let path = std::env::var(SOCKET).expect("a role comes with a socket");
    match &role[..] {
        "daemon" => be_daemon(Path::new(&path)),
        "client" => be_client(Path::new(&path)),
        role => panic!("unknown role {role}"),
    }
}

fn be_daemon(path: &Path) {
    let node = Node::new(LEN as u64, 16);
    for socket in UnixListener::bind(path).unwrap().incoming() {
        pass(&node, &socket.unwrap());
    }
}

/// Posts long chains until one fails.
fn be_client(path: &Path) {
    let fabric = fabric();
    let (_peer, link) = connect(&fabric, &UnixStream::connect(path).unwrap());
    let chain = long_chain(&fabric, LEN);
    while post(&fabric, &link, chain.clone()).is_ok() {}
}

fn pass(node: &Node, socket: &UnixStream) -> farrow_fabric_shm::ShmGrant {
    let grant = node.host.grant(Some(peer_process(socket).unwrap())).unwrap();
    send_grant(socket, node.memory.fd(), node.host.fd(), &grant).unwrap();
    grant
}

fn connect(fabric: &farrow_fabric_shm::ShmFabric, socket: &UnixStream) -> (std::sync::Arc<ShmPeer>, ShmLink) {
    let Passed { memory, control, grant } = receive_grant(socket).unwrap();
    let peer = ShmPeer::map(memory, control).unwrap();
    let link = fabric.link(&peer, NODE, grant);
    (peer, link)
}

/// A process that does not outlive its test.
struct Other(Child);

impl Other {
    fn start(role: &str, socket: &Path) -> Other {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "other_process", "--nocapture"]).env(ROLE, role).env(SOCKET, socket);
        Other(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Returns once all of its threads stand still.
    fn stop(&self) {
        self.signal(Signal::STOP);
        let id = rustix::process::WaitId::Pid(self.pid());
        rustix::process::waitid(id, WaitIdOptions::STOPPED).unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn patiently<T>(mut try_it: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = try_it() {
            return found;
        }
        assert!(Instant::now() < deadline, "what was waited for did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_killed_daemon_fails_its_links_at_once_and_a_stopped_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("daemon");
    let mut daemon = Other::start("daemon", &path);
    let fabric = fabric();
    let links: Vec<_> =
        (0..3).map(|_| connect(&fabric, &patiently(|| UnixStream::connect(&path).ok()))).collect();
    for (_, link) in &links {
        assert!(post(&fabric, link, add_one()).is_ok());
    }

    daemon.stop();
    for (peer, link) in &links {
        let chain =
            add_one().write_word(RemoteAddr(8), 7).compare_swap(RemoteAddr(8), 7, 8).read_word(RemoteAddr(8));
        assert_eq!(post(&fabric, link, chain).unwrap()[1..], [7, 8], "a stopped daemon serves");
        assert!(peer.is_alive() && link.is_up());
    }
    daemon.signal(Signal::CONT);

    daemon.0.kill().unwrap();
    assert_eq!(daemon.0.wait().unwrap().signal(), Some(9));
    for (peer, link) in &links {
        assert_eq!(post(&fabric, link, read_word(0)), Err(VerbError::refused(NODE, Why::PeerLost)));
        assert!(!peer.is_alive() && !link.is_up());
        assert_eq!(post(&fabric, link, read_word(0)).unwrap_err().why, Why::LinkDown);
    }
}

#[test]
fn a_daemon_killed_while_stopped_fails_its_links_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("daemon");
    let mut daemon = Other::start("daemon", &path);
    let fabric = fabric();
    let (_peer, link) = connect(&fabric, &patiently(|| UnixStream::connect(&path).ok()));
    daemon.stop();
    daemon.0.kill().unwrap();
    daemon.0.wait().unwrap();
    let error = post(&fabric, &link, add_one()).unwrap_err();
    assert_eq!((error.effect, error.why), (Effect::None, Why::PeerLost));
}

/// A client process in the middle of a chain, and its busy flag.
struct BusyClient {
    other: Other,
    node: Node,
    grant: farrow_fabric_shm::ShmGrant,
    control: Mapping,
    _dir: tempfile::TempDir,
}

impl BusyClient {
    fn start() -> BusyClient {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node");
        let listener = UnixListener::bind(&path).unwrap();
        let other = Other::start("client", &path);
        let node = Node::new(LEN as u64, 16);
        let grant = pass(&node, &listener.accept().unwrap().0);
        let control = Mapping::shared(node.host.fd(), 4096).unwrap();
        BusyClient { other, node, grant, control, _dir: dir }
    }

    fn is_busy(&self) -> bool {
        let at = 64 * (1 + self.grant.link as usize) + offset_of!(LinkRecord, busy);
        self.control.half(at).load(Ordering::SeqCst) == 1
    }

    /// Stops the client inside of a chain.
    fn stop_inside(&self) {
        patiently(|| {
            self.other.stop();
            let is_inside = self.is_busy();
            if !is_inside {
                self.other.signal(Signal::CONT);
            }
            is_inside.then_some(())
        });
    }
}

#[test]
fn a_client_that_sleeps_inside_of_its_chain_is_killed_by_the_fence() {
    let mut client = BusyClient::start();
    client.node.host.set_grace(Duration::from_millis(50));
    client.stop_inside();
    let fenced = client.node.host.fence(2).unwrap();
    assert_eq!((fenced.links, fenced.clients_killed), (1, 1));
    assert_eq!(client.other.0.wait().unwrap().signal(), Some(9));
    assert_eq!(client.node.host.release(&client.grant), farrow_fabric_shm::Revoked::Quiet);
    assert_link_is_good_again(&client.node, client.grant.link);
}

#[test]
fn a_client_that_died_inside_of_its_chain_does_not_hold_up_the_fence() {
    let mut client = BusyClient::start();
    client.stop_inside();
    client.other.0.kill().unwrap();
    client.other.0.wait().unwrap();
    assert!(client.is_busy(), "it died inside");
    client.node.host.set_grace(Duration::from_secs(30));
    let fenced = client.node.host.fence(2).unwrap();
    assert_eq!((fenced.links, fenced.clients_gone, fenced.clients_killed), (1, 1, 0));
    client.node.host.release(&client.grant);
    assert_link_is_good_again(&client.node, client.grant.link);
}

#[test]
fn a_client_that_died_is_cleaned_up_by_release_alone() {
    let mut client = BusyClient::start();
    client.stop_inside();
    client.other.0.kill().unwrap();
    client.other.0.wait().unwrap();
    assert_eq!(client.node.host.release(&client.grant), farrow_fabric_shm::Revoked::ClientGone);
    assert_eq!(client.node.host.links_held(), 0);
    assert_link_is_good_again(&client.node, client.grant.link);
}

#[test]
fn a_client_that_is_only_busy_survives_the_fence_and_stops_by_itself() {
    let mut client = BusyClient::start();
    client.node.host.set_grace(Duration::from_secs(60));
    patiently(|| client.is_busy().then_some(()));
    let fenced = client.node.host.fence(2).unwrap();
    assert_eq!((fenced.links, fenced.clients_killed, fenced.clients_gone), (1, 0, 0));
    let before = client.node.memory.mapping().word(8).load(Ordering::SeqCst);
    assert!(client.other.0.wait().unwrap().success(), "its next chain failed, and it ended");
    assert_eq!(client.node.memory.mapping().word(8).load(Ordering::SeqCst), before);
}

fn assert_link_is_good_again(node: &Node, link: u32) {
    let grant = node.host.grant(None).unwrap();
    assert_eq!(grant.link, link, "the lowest free link is granted");
    let fabric = fabric();
    let link = fabric.link(&node.peer(), NODE, grant);
    assert!(post(&fabric, &link, add_one()).is_ok());
}
