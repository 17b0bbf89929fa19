//! Ports that stay free while a process is away.

use crate::now_ns;
use anyhow::{Result, bail};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::net::TcpListener;

/// Below what the kernel gives to connections (`ip_local_port_range`): no connection takes the port of a node that was killed.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// As many different ports of 127.0.0.1 as are asked for, none in use just now.
///
/// # Errors
/// Hardly any is free.
pub fn free(count: usize) -> Result<Vec<u16>> {
    // Not of the run's seed: two runs with one seed would take each other's ports.
    let mut random = SmallRng::seed_from_u64(now_ns() ^ u64::from(std::process::id()) << 40);
    let mut ports = BTreeSet::new();
    for _ in 0..1_000 {
        if ports.len() == count {
            return Ok(ports.into_iter().collect());
        }
        let port = random.random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.insert(port);
        }
    }
    bail!("no {count} free ports in {PORTS:?}")
}
