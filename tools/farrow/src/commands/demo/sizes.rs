//! How large the nodes of a demo must be.

use super::records::Records;
use crate::exit::{Exit, told};
use crate::human;
use anyhow::Result;
use farrow_config::Config;
use farrow_layout::{SizeClass, entry_len};
use std::time::Duration;

/// PUTs that a second of the mixed workload may bring, generously: what they replace is not reclaimed.
const PUTS_PER_SECOND: f64 = 60_000.0;
/// Memory of a node at the least.
const LEAST: u64 = 64 << 20;
/// Memory of a node that is to be kept, where there is as much: every later client takes extents of its own.
const KEPT: u64 = 512 << 20;
/// Keys that a kept cluster has slots for at the least: those of a benchmark as it comes, and room beside.
const KEPT_KEYS: u64 = 300_000;
/// Memory that all nodes together may take of what is available.
const SHARE: f64 = 0.5;

/// Sets block size, keys and memory, so that `records` and a workload of `duration` fit.
pub fn fit(
    config: &mut Config,
    nodes: u64,
    records: &Records,
    duration: Duration,
    is_kept: bool,
) -> Result<()> {
    let lens = || records.all().iter().map(|record| entry_len(record.key.len(), record.value.len()) as u64);
    let (largest, total) = (lens().max().unwrap_or(0), lens().sum::<u64>());
    config.cluster.block_size = largest.next_power_of_two().max(config.cluster.block_size);
    let most = (SizeClass::MAX_LEN as u64).min(16 << 20);
    if config.cluster.block_size > most || largest > most {
        let why = format!(
            "a record of {} does not fit a block: at most {}",
            human::bytes(largest),
            human::bytes(most)
        );
        return Err(told(Exit::BadInput, why));
    }
    config.cluster.max_keys = (records.len() as u64 * 2).max(if is_kept { KEPT_KEYS } else { 10_000 });
    let mean = total as f64 / records.len() as f64;
    let written = total as f64 + mean * PUTS_PER_SECOND * duration.as_secs_f64();
    let copies = config.cluster.policy.copies() as f64;
    // Homes get uneven shares, and every client holds extents open in each of them.
    let data = written * copies / nodes as f64 * 1.5;
    let homes = f64::from(config.cluster.homes_per_node) * copies;
    let blocks = homes * 16.0 * config.cluster.block_size as f64;
    // Bytes of a slot and its share of a bucket's head, at 70 % of the slots in use.
    let index = config.cluster.max_keys as f64 * copies / nodes as f64 * 40.0;
    let wanted = ((data + blocks + index) as u64).max(if is_kept { KEPT } else { LEAST });
    // Long workloads end up full; then they only read.
    let least = ((total as f64 * copies / nodes as f64 * 1.5 + blocks + index) as u64).max(LEAST);
    let affordable = available().map_or(wanted, |bytes| (bytes as f64 * SHARE) as u64 / nodes);
    if affordable < least {
        let todo = "use fewer nodes or a smaller file";
        let why =
            format!("{nodes} nodes of {} do not fit the memory of this machine: {todo}", human::bytes(least));
        return Err(told(Exit::Other, why));
    }
    config.node.memory = wanted.min(affordable).next_multiple_of(1 << 20);
    // It is far more than most tours use, and whoever tries something does not want to wait for it.
    config.node.populate = false;
    Ok(())
}

fn available() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_fits_and_validates() {
        let records = Records::read(None).unwrap();
        for nodes in [3, 5, 32] {
            let mut config = Config::default();
            fit(&mut config, nodes, &records, Duration::from_secs(1), false).unwrap();
            config.validate().unwrap();
            assert!(config.node.memory >= LEAST);
        }
    }
}
