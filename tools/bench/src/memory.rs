//! Memory: how much a run needs, and what it used.

use crate::settings::Settings;
use crate::workload::key::KEY_LEN;
use anyhow::{Context, Result, ensure};
use farrow_client::Cluster;
use farrow_config::Config;
use farrow_control::message::{NodeStats, Reply, Request};
use farrow_layout::entry_len;

/// Every key has a slot; buckets fill unevenly.
const INDEX_SLACK: u64 = 2;
const MIB: u64 = 1 << 20;

/// Sizes the nodes of a cluster that is started for this run. Space is not reclaimed, so every write counts; what the
/// machine does not have is not promised, and a run that needs more ends with `full`.
pub(crate) fn fit(config: &mut Config, nodes: usize, settings: &Settings, asked: Option<u64>) -> Result<()> {
    let copies = config.cluster.policy.copies() as u64;
    let keys = settings.keys + settings.expected_inserts();
    config.cluster.max_keys = config.cluster.max_keys.max(keys * INDEX_SLACK);
    if let Some(memory) = asked {
        config.node.memory = memory;
        return Ok(());
    }
    let writes = settings.keys + settings.expected_writes();
    let mean = entry_len(KEY_LEN, settings.sizes.mean().ceil() as usize) as u64;
    let homes = nodes as u64 * u64::from(config.cluster.homes_per_node);
    let extents = homes
        * u64::from(settings.threads)
        * 4
        * config.cluster.extent_size.max(settings.sizes.largest().into());
    let index = config.cluster.max_keys * 16 * 2;
    let bytes = (writes * mean + extents + index) * copies / nodes as u64;
    let wanted = bytes + bytes / 3 + 32 * MIB;
    let most = available()? / 2 / nodes as u64;
    let least = (extents + index) * copies / nodes as u64 + 32 * MIB;
    ensure!(
        least < most,
        "{nodes} nodes for {keys} keys need {} MiB each, and this machine has room for {} MiB each: fewer --keys or --nodes",
        least / MIB,
        most / MIB
    );
    config.node.memory = wanted.min(most).next_multiple_of(MIB);
    Ok(())
}

/// Bytes that the machine has to give, and the memory file system too.
fn available() -> Result<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let line = info
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))
        .context("/proc/meminfo does not say MemAvailable")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("/proc/meminfo is odd")?;
    Ok(kib * 1024)
}

/// What the nodes hold at the end of a run.
pub(crate) struct Memory {
    pub(crate) nodes: Vec<NodeStats>,
}

/// Sums over segments.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) stored: u64,
    /// Of these, bytes of entries that no slot names any more.
    pub(crate) dead: u64,
    pub(crate) index: u64,
    pub(crate) open: u64,
    pub(crate) free: u64,
}

impl Memory {
    pub(crate) fn of(cluster: &Cluster) -> Result<Memory> {
        let mut nodes = Vec::new();
        for node in cluster.nodes() {
            let session = cluster.session(node.node)?;
            match session.call(&Request::Stats)? {
                Reply::Stats(stats) => nodes.push(*stats),
                other => return Err(session.confused(&other).into()),
            }
        }
        Ok(Memory { nodes })
    }

    /// Backups do not know their open extents by themselves, but each is written by its owner: the table says. Dead bytes are
    /// counted at primaries, and the backups hold the same entries.
    pub(crate) fn sum(&self, stats: &NodeStats) -> Sum {
        let all = self.nodes.iter().flat_map(|n| &n.segments);
        let primaries: Vec<_> = all.filter(|s| s.rank == 0).collect();
        let dead = |home| primaries.iter().filter(|s| s.home == home).map(|s| s.dead_bytes).sum::<u64>();
        stats.segments.iter().fold(Sum::default(), |sum, s| Sum {
            stored: sum.stored + s.block_bytes.saturating_sub(s.free_bytes),
            dead: sum.dead + dead(s.home),
            index: sum.index + s.index_bytes,
            open: sum.open + s.open_bytes,
            free: sum.free + s.free_bytes,
        })
    }

    pub(crate) fn total(&self) -> Sum {
        self.nodes.iter().map(|stats| self.sum(stats)).fold(Sum::default(), |a, b| Sum {
            stored: a.stored + b.stored,
            dead: a.dead + b.dead,
            index: a.index + b.index,
            open: a.open + b.open,
            free: a.free + b.free,
        })
    }
}
