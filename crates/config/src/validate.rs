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

    let mut seen = HashSet::new();
    for node in &cluster.nodes {
        match Address::parse(node) {
            Err(reason) => {
                report(&[("cluster", "nodes")], format!("cluster.nodes lists \"{node}\": {reason}"))
            }
            Ok(address) if address.port == 0 => {
                report(
                    &[("cluster", "nodes")],
                    format!("cluster.nodes lists \"{node}\": nobody can dial port 0"),
                );
            }
            Ok(address) if address.is_wildcard() => report(
                &[("cluster", "nodes")],
                format!("cluster.nodes lists \"{node}\", which nobody can dial: list the node's own address"),
            ),
            Ok(_) => {}
        }
        if !seen.insert(node.to_ascii_lowercase()) {
            report(
                &[("cluster", "nodes")],
                format!("cluster.nodes lists \"{node}\" twice: list each node once"),
            );
        }
    }

    let node = &config.node;
    match Address::parse(&node.listen) {
        Err(reason) => report(&[("node", "listen")], format!("node.listen is \"{}\": {reason}", node.listen)),
        Ok(address) if address.is_wildcard() && node.advertise.is_none() => report(
            &[("node", "listen"), ("node", "advertise")],
            format!(
                "node.listen is \"{}\", all addresses of this host, and nobody can dial that: \
                 set node.advertise to the one in cluster.nodes",
                node.listen
            ),
        ),
        Ok(_) => {}
    }
    if let Some(advertise) = &node.advertise {
        match Address::parse(advertise) {
            Err(reason) => {
                report(&[("node", "advertise")], format!("node.advertise is \"{advertise}\": {reason}"))
            }
            Ok(address) if address.is_wildcard() || address.port == 0 => report(
                &[("node", "advertise")],
                format!(
                    "node.advertise is \"{advertise}\", which nobody can dial: set the address clients see"
                ),
            ),
            Ok(_) => {}
        }
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
