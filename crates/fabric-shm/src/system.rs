//! What the machine has to give: memory that is left, under which limit, and huge pages.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory that this process may still take, and what limits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Available {
    pub(crate) bytes: u64,
    pub(crate) limited_by: String,
}

/// The tightest of the machine's free memory and the limits of our control groups; `None` where nothing can be read.
pub(crate) fn available() -> Option<Available> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| meminfo(&text, "MemAvailable"))
        .map(|bytes| Available { bytes, limited_by: "MemAvailable of this machine".into() });
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = cgroup_path(&own).into_iter().flat_map(|path| limits(Path::new("/sys/fs/cgroup"), &path));
    machine.into_iter().chain(groups).min_by_key(|a| a.bytes)
}

/// A field of /proc/meminfo, in bytes (or pages, where it has no unit).
fn meminfo(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let mut words = rest.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let unit = if words.next() == Some("kB") { 1024 } else { 1 };
    number.checked_mul(unit)
}

/// Our path in the unified hierarchy.
fn cgroup_path(proc_self_cgroup: &str) -> Option<PathBuf> {
    let line = proc_self_cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(PathBuf::from(line))
}

/// What the group and those above it leave us.
fn limits(root: &Path, group: &Path) -> Vec<Available> {
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let left = |group: &Path| {
        let dir = root.join(group);
        // "max" is no number, so no limit.
        let max = number(dir.join("memory.max"))?;
        let used = number(dir.join("memory.current")).unwrap_or(0);
        let limited_by = format!("memory.max of the control group /{}", group.display());
        Some(Available { bytes: max.saturating_sub(used), limited_by })
    };
    group.ancestors().filter_map(left).collect()
}

/// The huge pages of the default size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HugepagePool {
    pub(crate) page: u64,
    pub(crate) total: u64,
    /// Neither used nor promised to anybody.
    pub(crate) free: u64,
}

impl HugepagePool {
    /// `None` where the kernel has no huge pages.
    pub(crate) fn read() -> Option<HugepagePool> {
        HugepagePool::parse(&fs::read_to_string("/proc/meminfo").ok()?)
    }

    fn parse(text: &str) -> Option<HugepagePool> {
        let page = meminfo(text, "Hugepagesize").filter(|p| p.is_power_of_two())?;
        let reserved = meminfo(text, "HugePages_Rsvd").unwrap_or(0);
        Some(HugepagePool {
            page,
            total: meminfo(text, "HugePages_Total")?,
            free: meminfo(text, "HugePages_Free")?.saturating_sub(reserved),
        })
    }

    pub(crate) fn pages_for(&self, len: u64) -> u64 {
        len.div_ceil(self.page)
    }

    /// The number of pages that would let `len` bytes more be had.
    pub(crate) fn wanted_total(&self, len: u64) -> u64 {
        self.total + self.pages_for(len).saturating_sub(self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24000000 kB\nMemAvailable:   2048 kB\nHugePages_Total:      10\n\
        HugePages_Free:        6\nHugePages_Rsvd:        2\nHugepagesize:       2048 kB\n";

    #[test]
    fn meminfo_is_read_with_its_units() {
        assert_eq!(meminfo(MEMINFO, "MemAvailable"), Some(2 << 20));
        assert_eq!(meminfo(MEMINFO, "HugePages_Free"), Some(6));
        assert_eq!(meminfo(MEMINFO, "Mem"), None);
    }

    #[test]
    fn promised_hugepages_are_not_free() {
        let pool = HugepagePool::parse(MEMINFO).unwrap();
        assert_eq!(pool, HugepagePool { page: 2 << 20, total: 10, free: 4 });
        assert_eq!(pool.pages_for((2 << 20) + 1), 2);
        assert_eq!(pool.wanted_total(20 << 20), 16);
        assert_eq!(HugepagePool::parse("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn the_limit_of_a_group_above_counts() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("outer/inner");
        fs::create_dir_all(&inner).unwrap();
        fs::write(dir.path().join("outer/memory.max"), "1000\n").unwrap();
        fs::write(dir.path().join("outer/memory.current"), "400\n").unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        let found = limits(dir.path(), &cgroup_path("0::/outer/inner\n").unwrap());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].bytes, 600);
        assert!(found[0].limited_by.ends_with("/outer"), "{}", found[0].limited_by);
    }
}
