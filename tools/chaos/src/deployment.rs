//! A coordinator and memory nodes, each a process of its own.

use crate::process::{Launch, Process};
use crate::redundancy::missing;
use crate::watch::Watch;
use crate::{net, now_ns, ports};
use anyhow::{Context, Result, bail, ensure};
use farrow_control::Secret;
use farrow_control::coordination::{Ask, CoordinatorStatus, Tell};
use farrow_layout::NodeId;
use farrow_transport::Caller;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The cluster's name.
pub const CLUSTER: &str = "chaos";

/// For an answer about who leads.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is deployed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `farrow` program.
    pub farrow: PathBuf,
    /// Coordinators; with more than one the state is kept in an etcd of their own.
    pub coordinators: usize,
    /// Nodes that the cluster forms of.
    pub nodes: usize,
    /// Nodes beyond those.
    pub spares: usize,
    /// Copies of everything.
    pub copies: usize,
    /// A lease.
    pub lease: Duration,
    /// Memory of each node, as a flag says it.
    pub memory: String,
    /// Keys to lay the index out for.
    pub max_keys: u64,
    /// Bytes a second that each order to restore may copy; 0 is no cap.
    pub restore_bandwidth: u64,
    /// Whether there is a network of its own ([`net::make`]): nodes run as users of their own then.
    pub is_partitioned: bool,
}

/// A running cluster. Dropping it kills its processes.
pub struct Deployment {
    settings: Settings,
    launch: Launch,
    secret: Secret,
    coordinators: Vec<Coordinator>,
    etcd: Option<(String, Process)>,
    nodes: Vec<Node>,
    watch: Watch,
    /// Lives of nodes that are over.
    gone: BTreeSet<NodeId>,
}

struct Coordinator {
    address: String,
    process: Option<Process>,
}

struct Node {
    address: String,
    process: Option<Process>,
    /// Waits for a process that was killed: giving back its memory takes a while, and its address is not free before that.
    ending: Option<JoinHandle<()>>,
    /// How often it ended by itself, having been passed over.
    ends: u32,
}

impl Deployment {
    /// Starts everything, and waits until the cluster has formed.
    ///
    /// # Errors
    /// A process does not start, or the cluster does not form within ten seconds and ten leases.
    pub fn start(settings: Settings, launch: Launch) -> Result<Deployment> {
        ensure!(settings.copies <= settings.nodes, "fewer nodes than copies");
        let secret = Secret::generate().context("the system has no randomness")?;
        let path = launch.dir.join("secret");
        fs::write(&path, secret.expose())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let count = settings.coordinators;
        ensure!(count > 0, "somebody has to coordinate");
        let ports = ports::free(count + settings.nodes + settings.spares + 2)?;
        let host = if settings.is_partitioned { net::COORDINATOR } else { "127.0.0.1" };
        let (first, rest) = ports.split_at(count);
        let (of_etcd, rest) = rest.split_at(2);
        let addresses: Vec<_> = first.iter().map(|port| format!("{host}:{port}")).collect();
        let watch = Watch::start(addresses.clone(), secret.clone())?;
        let coordinators =
            addresses.into_iter().map(|address| Coordinator { address, process: None }).collect();
        let etcd = if count > 1 { Some(etcd(&launch, of_etcd)?) } else { None };
        let node = |port| Node { address: format!("127.0.0.1:{port}"), process: None, ending: None, ends: 0 };
        let nodes = rest.iter().map(node).collect();
        let gone = BTreeSet::new();
        let mut deployment = Deployment { settings, launch, secret, coordinators, etcd, nodes, watch, gone };
        (0..count).try_for_each(|number| deployment.start_coordinator(number))?;
        // Spares come later, so that they are spares.
        for number in 0..deployment.settings.nodes {
            deployment.start_node(number)?;
        }
        let patience = Duration::from_secs(60) + 10 * deployment.settings.lease;
        deployment.wait_whole(patience).context("the cluster does not form")?;
        for number in deployment.settings.nodes..deployment.nodes.len() {
            deployment.start_node(number)?;
        }
        Ok(deployment)
    }

    /// What was deployed.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How further processes are started beside it.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Where the coordinators listen.
    pub fn coordinator_addresses(&self) -> Vec<String> {
        self.coordinators.iter().map(|c| c.address.clone()).collect()
    }

    /// The cluster's secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The file that holds it.
    pub fn secret_file(&self) -> PathBuf {
        self.launch.dir.join("secret")
    }

    /// What the coordinator says.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// How many nodes there are, running or not.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a node's process is there and runs.
    pub fn is_running(&self, number: usize) -> bool {
        self.nodes[number].process.as_ref().is_some_and(|p| !p.is_paused())
    }

    /// The coordinator that leads, if all of them run and one does.
    pub fn leader(&self) -> Option<usize> {
        let runs = |c: &Coordinator| c.process.as_ref().is_some_and(|p| !p.is_paused());
        if !self.coordinators.iter().all(runs) {
            return None;
        }
        self.coordinators.iter().position(|c| {
            let mut caller = Caller::new(vec![c.address.clone()], self.secret.clone(), "chaos");
            matches!(caller.call(&Ask::Status, PATIENCE), Ok(Tell::Status(_)))
        })
    }

    /// The identity of a node's present life, if the coordinator has told of it.
    pub fn identity(&self, number: usize) -> Option<NodeId> {
        let seen = self.watch.latest()?;
        let nodes = seen.status.map.nodes.iter().rev();
        nodes
            .filter(|n| n.is_up() && !self.gone.contains(&n.id))
            .find_map(|n| (n.address == self.nodes[number].address).then_some(n.id))
    }

    /// Whether it holds a copy of anything.
    pub fn is_member(&self, number: usize) -> bool {
        let seen = self.watch.latest();
        let (Some(id), Some(seen)) = (self.identity(number), seen) else { return false };
        seen.status.map.homes.iter().any(|home| home.has_member(id))
    }

    fn common(&self) -> Vec<OsString> {
        vec![
            "--cluster-name".into(),
            "chaos".into(),
            "--cluster-secret-file".into(),
            self.secret_file().into(),
        ]
    }

    /// Starts a coordinator, with the state that there is.
    ///
    /// # Errors
    /// No process.
    pub fn start_coordinator(&mut self, number: usize) -> Result<()> {
        let settings = &self.settings;
        let store = match &self.etcd {
            Some((address, _)) => format!("etcd:{address}"),
            None => format!("file:{}", self.launch.dir.join("coordinator.state").display()),
        };
        let mut args: Vec<OsString> = vec!["coordinator".into()];
        args.extend(self.common());
        let mut flag = |name: &str, value: String| args.extend([name.into(), OsString::from(value)]);
        flag("--coordinator-listen", self.coordinators[number].address.clone());
        flag("--coordinator-store", store);
        flag("--cluster-coordinators", self.coordinator_addresses().join(","));
        flag("--coordinator-lease", format!("{}ms", settings.lease.as_millis()));
        flag("--cluster-nodes-to-form", settings.nodes.to_string());
        flag("--cluster-policy", format!("replicate:{}", settings.copies));
        flag("--cluster-max-keys", settings.max_keys.to_string());
        flag("--cluster-homes-per-node", "1".to_owned());
        flag("--coordinator-restore-bandwidth", settings.restore_bandwidth.to_string());
        let (name, program) = (format!("coordinator-{number}"), settings.farrow.clone().into());
        self.coordinators[number].process = Some(self.launch.start(&name, &program, &args)?);
        Ok(())
    }

    /// Kills a coordinator.
    pub fn kill_coordinator(&mut self, number: usize) {
        drop(self.coordinators[number].process.take());
    }

    /// Stops a coordinator, or lets it run on.
    pub fn pause_coordinator(&mut self, number: usize, is_paused: bool) {
        set_paused(self.coordinators[number].process.as_mut(), is_paused);
    }

    /// Starts a node, with empty memory.
    pub fn start_node(&mut self, number: usize) -> Result<()> {
        let mut args: Vec<OsString> = vec!["node".into(), "--cluster-name".into(), CLUSTER.into()];
        let mut flag = |name: &str, value: String| args.extend([name.into(), OsString::from(value)]);
        flag("--cluster-coordinators", self.coordinator_addresses().join(","));
        flag("--node-listen", self.nodes[number].address.clone());
        flag("--node-memory", self.settings.memory.clone());
        flag("--node-domain", format!("d{number}"));
        let program = self.settings.farrow.clone().into();
        let user = self.settings.is_partitioned.then(|| net::user(number));
        // Another user cannot read our file.
        let secret = str::from_utf8(self.secret.expose()).context("generated secrets are text")?;
        let environment = [("FARROW_CLUSTER_SECRET", secret)];
        let name = format!("node-{number}");
        if let Some(ending) = self.nodes[number].ending.take() {
            ending.join().expect("waiting does not panic");
        }
        self.nodes[number].process =
            Some(self.launch.start_as(user, &name, &program, &args, &environment)?);
        Ok(())
    }

    /// Kills a node: what its memory held is gone.
    pub fn kill_node(&mut self, number: usize) {
        self.gone.extend(self.identity(number));
        let node = &mut self.nodes[number];
        if let Some(mut process) = node.process.take() {
            process.kill();
            node.ending = Some(thread::spawn(move || drop(process)));
        }
    }

    /// Stops a node, or lets it run on.
    pub fn pause_node(&mut self, number: usize, is_paused: bool) {
        set_paused(self.nodes[number].process.as_mut(), is_paused);
    }

    /// Starts nodes again that ended by themselves: they were passed over. Returns those.
    ///
    /// # Errors
    /// The coordinator ended by itself, or a node failed.
    pub fn supervise(&mut self) -> Result<Vec<usize>> {
        for (number, coordinator) in self.coordinators.iter_mut().enumerate() {
            if let Some(process) = &mut coordinator.process
                && let Some(status) = process.ended()
            {
                bail!("coordinator {number} has ended by itself ({status}):\n{}", process.last_words());
            }
        }
        let mut again = Vec::new();
        for number in 0..self.nodes.len() {
            let Some(process) = &mut self.nodes[number].process else { continue };
            let Some(status) = process.ended() else { continue };
            let words = process.last_words();
            self.nodes[number].ends += 1;
            ensure!(status.code().is_some(), "node {number} was ended by a signal ({status}):\n{words}");
            ensure!(!words.contains("panicked"), "node {number} has panicked:\n{words}");
            ensure!(self.nodes[number].ends < 50, "node {number} ends again and again ({status}):\n{words}");
            self.kill_node(number);
            self.start_node(number)?;
            again.push(number);
        }
        Ok(again)
    }

    /// In words, what is not as it should be, by an answer that was asked for after `since_ns`; `None` if all is well.
    pub fn missing_since(&self, since_ns: u64) -> Option<String> {
        match self.watch.since(since_ns) {
            Some(status) => missing(&status, &self.gone),
            None => Some("the coordinator does not answer".to_owned()),
        }
    }

    /// Waits until every home is open and has all of its copies.
    ///
    /// # Errors
    /// That takes longer than `patience`.
    pub fn wait_whole(&mut self, patience: Duration) -> Result<Arc<CoordinatorStatus>> {
        let begin = now_ns();
        loop {
            self.supervise()?;
            let missing = self.missing_since(begin);
            if missing.is_none()
                && let Some(status) = self.watch.since(begin)
            {
                return Ok(status);
            }
            if now_ns() - begin > patience.as_nanos() as u64 {
                bail!("after {patience:?}: {}\n{}", missing.unwrap_or_default(), self.explain());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What everybody said last, for people.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        if let Some(seen) = self.watch.latest() {
            let status = &seen.status;
            text += &format!("epoch {}\n", status.map.epoch);
            for node in &status.map.nodes {
                text += &format!("  {} {} {} {:?}\n", node.id, node.address, node.domain, node.standing);
            }
            for home in &status.map.homes {
                let members: Vec<_> =
                    home.members.iter().map(|m| format!("{}/{}", m.node, m.segment)).collect();
                text += &format!(
                    "  home {}: {} open {} epoch {}\n",
                    home.id,
                    members.join(" "),
                    home.is_open,
                    home.epoch
                );
            }
            for order in &status.orders {
                text += &format!("  {order:?}\n");
            }
        }
        for coordinator in &self.coordinators {
            let words = coordinator.process.as_ref().map_or("not running".to_owned(), Process::last_words);
            text += &format!("coordinator at {}: {words}\n", coordinator.address);
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let words = node.process.as_ref().map_or("not running".to_owned(), Process::last_words);
            text += &format!("node {number} at {}: {words}\n", node.address);
        }
        text
    }

    /// Control addresses of the nodes that run.
    pub fn running(&self) -> Vec<String> {
        (0..self.nodes.len()).filter(|&n| self.is_running(n)).map(|n| self.nodes[n].address.clone()).collect()
    }
}

/// An etcd for the coordinators of one cluster: its address, and its process.
fn etcd(launch: &Launch, ports: &[u16]) -> Result<(String, Process)> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let (client, peer) = (url(ports[0]), url(ports[1]));
    let args = [
        ("--data-dir", launch.dir.join("etcd").display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client.clone()),
        ("--listen-peer-urls", peer.clone()),
        ("--initial-advertise-peer-urls", peer.clone()),
        ("--initial-cluster", format!("default={peer}")),
    ];
    let args: Vec<OsString> =
        args.into_iter().flat_map(|(name, value)| [name.into(), value.into()]).collect();
    Ok((client, launch.start("etcd", &"etcd".into(), &args)?))
}

fn set_paused(process: Option<&mut Process>, is_paused: bool) {
    match (process, is_paused) {
        (Some(process), true) => process.pause(),
        (Some(process), false) => process.resume(),
        (None, _) => {}
    }
}
