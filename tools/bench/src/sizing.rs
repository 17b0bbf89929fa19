//! How much memory the nodes of an embedded cluster need, so that a run does not fill it: this release frees nothing.

use crate::settings::{Length, Settings};
use crate::workload::key::KEY_LEN;
use anyhow::{bail, ensure};
use farrow_config::{Config, print_size};
use farrow_layout::{GROUP_LEN, Geometry, SizeClass, Superblock, entry_len};

/// Keys and writes spread unevenly over homes, skewed choices more so.
const SLACK: f64 = 1.5;
const MIB: u64 = 1 << 20;
/// The least that is worth having, and less than nothing: untouched memory takes none.
const LEAST: u64 = 64 * MIB;

/// What a run needs of each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// To hold the keys.
    pub(crate) load: u64,
    /// To hold the keys and all that the run is expected to write.
    pub(crate) run: u64,
}

/// Estimates what a run needs of each of `nodes` nodes of `config`.
pub(crate) fn need(settings: &Settings, config: &Config, nodes: usize) -> Need {
    let cluster = &config.cluster;
    let homes = nodes as u64 * u64::from(cluster.homes_per_node);
    let segments = u64::from(cluster.homes_per_node) * cluster.policy.copies() as u64;
    let mean = entry_len(KEY_LEN, settings.sizes.mean().ceil() as usize);
    // An extent ends where the next entry does not fit.
    let largest = entry_len(KEY_LEN, settings.sizes.largest() as usize) as u64;
    let waste = 1.0 + largest as f64 / 2.0 / cluster.extent_size.max(largest) as f64;
    let keys_per_home = cluster.max_keys.div_ceil(homes);
    let index = Geometry::groups_for(keys_per_home + keys_per_home / 8 + 16) * GROUP_LEN;
    // Each client holds an extent open and asks for the next one ahead; large values take extents of their own.
    let open = u64::from(settings.threads) * 4 * cluster.extent_size.max(largest);
    let node = |entries: u64, slack: f64| {
        let entries = entries as f64 * mean as f64 * waste * slack / homes as f64;
        let blocks = (entries as u64 + open).next_multiple_of(cluster.block_size) + cluster.block_size;
        // A record of 16 bytes an extent, and headers.
        let records = blocks / cluster.extent_size * 16 + 64 * 1024;
        let segment = index + blocks + records;
        (Superblock::SPACE + segments * segment).next_multiple_of(MIB)
    };
    Need {
        load: node(settings.keys, 1.0),
        run: node(settings.keys + settings.expected_writes(), SLACK).max(LEAST),
    }
}

/// Chooses the memory of each node, or checks what the user chose. Words for the user, if there is something to say.
///
/// # Errors
/// The keys do not fit, or a run of so many operations does not fit this machine.
pub(crate) fn choose(
    settings: &Settings,
    config: &mut Config,
    nodes: usize,
    is_chosen: bool,
    available: u64,
) -> anyhow::Result<Option<String>> {
    let largest = entry_len(KEY_LEN, settings.sizes.largest() as usize);
    let most = (config.cluster.block_size as usize).min(SizeClass::MAX_LEN);
    ensure!(
        largest <= most,
        "a value of {} bytes does not fit a block of {}: raise --cluster-block-size",
        settings.sizes.largest(),
        print_size(config.cluster.block_size)
    );
    let need = need(settings, config, nodes);
    let print = |bytes: u64| print_size(bytes.next_multiple_of(MIB));
    if is_chosen {
        ensure!(
            config.node.memory >= need.load,
            "{} keys of about {} bytes need about {} of memory on each of {nodes} nodes, and --memory is {}: \
             raise it, or load fewer keys",
            settings.keys,
            KEY_LEN + settings.sizes.mean().round() as usize,
            print(need.load),
            print_size(config.node.memory)
        );
        let may_fill = config.node.memory < need.run;
        return Ok(may_fill.then(|| {
            format!(
                "the run may write more than the nodes hold (about {} each, --memory is {}): it ends when they are full",
                print(need.run),
                print_size(config.node.memory)
            )
        }));
    }
    // Half of what is there: the clients, the page cache and everybody else live on the rest.
    let share = available / 2 / nodes as u64 / MIB * MIB;
    if need.run <= share {
        config.node.memory = need.run;
        return Ok(None);
    }
    if need.load > share || matches!(settings.length, Length::Ops(_)) {
        bail!(
            "the run needs about {} of memory on each of {nodes} nodes, and this machine can give {} to each: \
             fewer --keys, --ops or --nodes, or set --memory to say that you know better",
            print(need.run),
            print(share)
        );
    }
    config.node.memory = share;
    Ok(Some(format!(
        "each node gets {}, all that this machine can give; a run of this length could fill {}, and would end there",
        print(share),
        print(need.run)
    )))
}

/// Bytes of memory that this machine has to give.
pub(crate) fn available() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    // A kernel that does not say has surely this much.
    kib.map_or(1 << 30, |kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> Settings {
        let args = [&["bench"], args].concat();
        Settings::from_matches(&crate::cli::command().get_matches_from(args)).unwrap()
    }

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_estimate_follows_what_is_written() {
        let config = Config::default();
        let of = |args: &[&str]| need(&settings(args), &config, 3);
        let small = of(&["--keys", "1000", "--ops", "1000", "--warm-up", "0"]);
        assert_eq!(small.run, LEAST.max(small.run));
        let million = of(&["--keys", "1000000", "--ops", "1", "--warm-up", "0"]);
        // 128 bytes a key, three copies over three nodes, and the index.
        assert!((128 << 20..400 << 20).contains(&million.load), "{million:?}");
        let writes = of(&["--keys", "1000", "--ops", "10000000", "--warm-up", "0", "--workload", "put=1"]);
        assert!((10_000_000 * 128..3 * GIB).contains(&writes.run), "{writes:?}");
        let reads = of(&["--keys", "1000", "--ops", "10000000", "--warm-up", "0", "--workload", "ycsb-c"]);
        assert_eq!(reads, small);
    }

    #[test]
    fn what_does_not_fit_is_refused_or_capped() {
        let mut config = Config::default();
        let ops = settings(&["--keys", "1000", "--ops", "100000000"]);
        let refused = choose(&ops, &mut config, 3, false, 6 * GIB).unwrap_err().to_string();
        assert!(refused.contains("this machine can give 1GiB to each"), "{refused}");
        let time = settings(&["--keys", "1000", "--seconds", "1h"]);
        let said = choose(&time, &mut config, 3, false, 6 * GIB).unwrap().unwrap();
        assert!(said.contains("would end there"), "{said}");
        assert_eq!(config.node.memory, GIB);
        let short = settings(&["--keys", "1000", "--ops", "1000"]);
        assert_eq!(choose(&short, &mut config, 3, false, 6 * GIB).unwrap(), None);
        assert!(config.node.memory < GIB);
    }

    #[test]
    fn a_chosen_size_is_checked_and_kept() {
        let mut config = Config::default();
        config.node.memory = 32 << 20;
        let keys = settings(&["--keys", "10000000"]);
        let refused = choose(&keys, &mut config, 3, true, 0).unwrap_err().to_string();
        assert!(refused.contains("--memory is 32MiB"), "{refused}");
        config.cluster.max_keys = 1000;
        let fills = settings(&["--keys", "1000", "--ops", "100000000"]);
        assert!(
            choose(&fills, &mut config, 3, true, 0).unwrap().unwrap().contains("ends when they are full")
        );
        assert_eq!(config.node.memory, 32 << 20);
        let large = settings(&["--value-size", "1MiB"]);
        assert!(choose(&large, &mut config, 3, true, 0).unwrap_err().to_string().contains("block"));
    }

    #[test]
    fn the_machine_says_what_it_has() {
        assert!(available() > 1 << 20);
    }
}
