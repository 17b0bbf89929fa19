//! Whether values go together.

use std::collections::HashSet;

use crate::address::Address;
use crate::quantity::print_size;
use crate::schema::{KEYS, key_index};
use crate::{Config, Origin, Problem, Require, Transport};

/// Extents begin on this boundary, the unit of a word's pointer.
const EXTENT_UNIT: u64 = 64;

/// Checks what a program put together: each value by itself first.
pub(crate) fn program(config: &Config) -> Vec<Problem> {
    let alone: Vec<_> = KEYS
        .iter()
        .zip(config.to_values())
        .filter_map(|(key, value)| {
            let reason = key.kind.check(&value).err()?;
            Some(Problem::value(key, &value.to_string(), Origin::Program, reason))
        })
        .collect();
    if alone.is_empty() { together(config, |_| Origin::Program) } else { alone }
}

/// Checks what no value shows by itself. `origin` tells where the value of a position in [`KEYS`] comes from.
pub(crate) fn together(config: &Config, origin: impl Fn(usize) -> Origin) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |keys: &[(&str, &str)], message: String| {
        let keys = keys
            .iter()
            .map(|(section, name)| (format!("{section}.{name}"), origin(key_index(section, name))))
            .collect();
        problems.push(Problem::Conflict { message, keys });
    };

    let cluster = &config.cluster;
    if cluster.secret.is_some() && cluster.secret_file.is_some() {
        report(
            &[("cluster", "secret"), ("cluster", "secret_file")],
            "cluster.secret and cluster.secret_file are both set: set one of them".to_owned(),
        );
    }
    if !cluster.block_size.is_power_of_two() {
        let near = cluster.block_size.next_power_of_two();
        report(
            &[("cluster", "block_size")],
            format!(
                "cluster.block_size is {}, which is no power of two: set {} or {}",
                print_size(cluster.block_size),
                print_size(near / 2),
                print_size(near)
            ),
        );
    }
    if !cluster.extent_size.is_multiple_of(EXTENT_UNIT) {
        report(
            &[("cluster", "extent_size")],
            format!(
                "cluster.extent_size is {}, which is no multiple of {EXTENT_UNIT} bytes: set {}",
                print_size(cluster.extent_size),
                print_size(cluster.extent_size.next_multiple_of(EXTENT_UNIT))
            ),
        );
    }
    if cluster.extent_size > cluster.block_size {
        report(
            &[("cluster", "extent_size"), ("cluster", "block_size")],
            format!(
                "cluster.extent_size is {} and a block only {}: an extent lies within a block",
                print_size(cluster.extent_size),
                print_size(cluster.block_size)
            ),
        );
    }

    for (name, list, what) in
        [("nodes", &cluster.nodes, "node"), ("coordinators", &cluster.coordinators, "coordinator")]
    {
        for complaint in listed(name, list, what) {
            report(&[("cluster", name)], complaint);
        }
    }
    if usize::from(cluster.write_floor) > cluster.policy.copies() {
        report(
            &[("cluster", "write_floor"), ("cluster", "policy")],
            format!(
                "cluster.write_floor is {} and cluster.policy {}: no write would ever be accepted",
                cluster.write_floor, cluster.policy
            ),
        );
    }

    let node = &config.node;
    for complaint in reachable("node", &node.listen, node.advertise.as_deref(), "cluster.nodes") {
        report(&[("node", "listen"), ("node", "advertise")], complaint);
    }
    let coordinator = &config.coordinator;
    let advertise = coordinator.advertise.as_deref();
    for complaint in reachable("coordinator", &coordinator.listen, advertise, "cluster.coordinators") {
        report(&[("coordinator", "listen"), ("coordinator", "advertise")], complaint);
    }
    if let Some(complaint) = store(&coordinator.store) {
        report(&[("coordinator", "store")], complaint);
    }
    if node.reformat && node.memory_file.is_none() {
        report(
            &[("node", "reformat"), ("node", "memory_file")],
            "node.reformat is set without node.memory_file, and there is nothing to format anew: set the file too"
                .to_owned(),
        );
    }

    let fabric = &config.fabric;
    if matches!(
        (fabric.transport, fabric.require),
        (Transport::Shm, Require::Rdma) | (Transport::Rdma, Require::Shm)
    ) {
        report(
            &[("fabric", "transport"), ("fabric", "require")],
            format!(
                "fabric.transport is {} and fabric.require {}: let them agree, or set fabric.transport to auto",
                fabric.transport, fabric.require
            ),
        );
    }
    problems
}

/// What is wrong with a list of addresses to dial.
fn listed(name: &str, list: &[String], what: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut seen = HashSet::new();
    for item in list {
        let complaint = match Address::parse(item) {
            Err(reason) => Some(reason.to_owned()),
            Ok(address) if address.port == 0 => Some("nobody can dial port 0".to_owned()),
            Ok(address) if address.is_wildcard() => {
                Some(format!("nobody can dial that: list the {what}'s own address"))
            }
            Ok(_) => None,
        };
        complaints.extend(complaint.map(|why| format!("cluster.{name} lists \"{item}\": {why}")));
        if !seen.insert(item.to_ascii_lowercase()) {
            complaints.push(format!("cluster.{name} lists \"{item}\" twice: list each {what} once"));
        }
    }
    complaints
}

/// What is wrong with the addresses that a daemon listens on and that others dial.
fn reachable(section: &str, listen: &str, advertise: Option<&str>, list: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    match Address::parse(listen) {
        Err(reason) => complaints.push(format!("{section}.listen is \"{listen}\": {reason}")),
        Ok(address) if address.is_wildcard() && advertise.is_none() => complaints.push(format!(
            "{section}.listen is \"{listen}\", all addresses of this host, and nobody can dial that: \
             set {section}.advertise to the one in {list}"
        )),
        Ok(_) => {}
    }
    match advertise.map(|advertise| (advertise, Address::parse(advertise))) {
        Some((advertise, Err(reason))) => {
            complaints.push(format!("{section}.advertise is \"{advertise}\": {reason}"));
        }
        Some((advertise, Ok(address))) if address.is_wildcard() || address.port == 0 => complaints.push(format!(
            "{section}.advertise is \"{advertise}\", which nobody can dial: set the address that others see"
        )),
        _ => {}
    }
    complaints
}

/// What is wrong with the place where a coordinator's state is to be kept.
fn store(text: &str) -> Option<String> {
    let wrong = |why: &str| Some(format!("coordinator.store is \"{text}\": {why}"));
    match text.split_once(':') {
        Some(("file", "")) => wrong("the path is missing, write file:PATH"),
        Some(("file", _)) => None,
        Some(("etcd", list)) => {
            let urls: Vec<&str> = list.split(',').map(str::trim).collect();
            let bad = urls.iter().find(|url| {
                let address = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
                !address.is_some_and(|address| Address::parse(address).is_ok_and(|a| a.port != 0))
            });
            bad.and_then(|url| wrong(&format!("\"{url}\" is no address of etcd, write http://HOST:PORT")))
        }
        _ => wrong("write file:PATH, or etcd:http://HOST:PORT,..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, SecretText};

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        let error = config.validate().expect_err("the configuration was accepted");
        assert_eq!(error.problems().len(), 1, "{error}");
        error.to_string()
    }

    fn nodes(list: &[&str]) -> Vec<String> {
        list.iter().map(|node| (*node).to_owned()).collect()
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let message = refused(|c| {
            c.cluster.secret = Some(SecretText::new("hunter2hunter2hunter2"));
            c.cluster.secret_file = Some("secret".into());
        });
        assert!(message.contains("both set") && !message.contains("hunter2"), "{message}");
        let message = refused(|c| c.cluster.block_size = 192 << 10);
        assert!(message.contains("set 128KiB or 256KiB"), "{message}");
        let message = refused(|c| c.cluster.extent_size = 1000);
        assert!(message.contains("set 1KiB"), "{message}");
        let message = refused(|c| c.cluster.extent_size = 512 << 10);
        assert!(message.contains("extent_size is 512KiB and a block only 256KiB"), "{message}");
        // A client may know just one node of many: whether there are enough is for the nodes to say.
        let mut one = Config::default();
        one.cluster.nodes = nodes(&["a:1"]);
        assert!(one.validate().is_ok());
        let message = refused(|c| c.cluster.nodes = nodes(&["a:1", "b:1", "A:1"]));
        assert!(message.contains("\"A:1\" twice"), "{message}");
        let message = refused(|c| c.cluster.nodes = nodes(&["a:1", "b:1", "c"]));
        assert!(message.contains("\"c\": its port is missing"), "{message}");
        let message = refused(|c| c.cluster.nodes = nodes(&["a:1", "b:1", "c:0"]));
        assert!(message.contains("port 0"), "{message}");
        let message = refused(|c| c.cluster.nodes = nodes(&["a:1", "b:1", "0.0.0.0:1"]));
        assert!(message.contains("nobody can dial"), "{message}");
        let message = refused(|c| c.node.listen = "here".to_owned());
        assert!(message.contains("node.listen is \"here\""), "{message}");
        let message = refused(|c| c.node.listen = "0.0.0.0:7400".to_owned());
        assert!(message.contains("set node.advertise"), "{message}");
        let message = refused(|c| c.node.advertise = Some("[::]:7400".to_owned()));
        assert!(message.contains("node.advertise"), "{message}");
        let message = refused(|c| c.cluster.coordinators = nodes(&["a:1", "a:1"]));
        assert!(message.contains("cluster.coordinators lists \"a:1\" twice"), "{message}");
        let message = refused(|c| c.coordinator.listen = "0.0.0.0:7300".to_owned());
        assert!(message.contains("set coordinator.advertise"), "{message}");
        let message = refused(|c| c.cluster.write_floor = 4);
        assert!(message.contains("no write would ever be accepted"), "{message}");
        for (store, expected) in [
            ("state", "write file:PATH"),
            ("file:", "path is missing"),
            ("etcd:", "no address of etcd"),
            ("etcd:http://a:2379,https://b:2379", "\"https://b:2379\" is no address"),
        ] {
            let message = refused(|c| c.coordinator.store = store.to_owned());
            assert!(message.contains(expected), "{message}");
        }
        let message = refused(|c| c.node.reformat = true);
        assert!(message.contains("without node.memory_file"), "{message}");
        let message = refused(|c| {
            c.fabric.transport = Transport::Shm;
            c.fabric.require = Require::Rdma;
        });
        assert!(message.contains("fabric.transport is shm and fabric.require rdma"), "{message}");
    }

    #[test]
    fn what_goes_together_is_accepted() {
        let mut config = Config::default();
        config.cluster.nodes = nodes(&["a:1", "a:2", "[::1]:1"]);
        config.cluster.extent_size = config.cluster.block_size;
        config.node.listen = "0.0.0.0:0".to_owned();
        config.node.advertise = Some("a:1".to_owned());
        config.cluster.coordinators = nodes(&["a:1", "b:1"]);
        config.coordinator.store = "etcd:http://a:2379,http://[::1]:2379/".to_owned();
        config.fabric.transport = Transport::Rdma;
        config.fabric.require = Require::Rdma;
        config.validate().unwrap();
    }

    #[test]
    fn values_that_a_program_set_out_of_range_are_refused() {
        let message = refused(|c| c.cluster.homes_per_node = 65);
        assert_eq!(
            message,
            "cluster.homes_per_node = \"65\" (program): it is too large; accepted: a whole number, 1 to 64"
        );
        refused(|c| c.cluster.max_keys = u64::MAX);
        refused(|c| c.node.memory = 0);
        refused(|c| c.cluster.name = String::new());
        refused(|c| c.client.cache_stale_ratio = f64::NAN);
    }
}
