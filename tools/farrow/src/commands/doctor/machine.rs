//! Memory, pages and limits of this machine.

use super::Check;
use crate::human;
use farrow_config::{Config, Hugepages};
use farrow_fabric_verbs::memlock;
use rustix::fs::{MemfdFlags, memfd_create, statvfs};
use rustix::process::{Resource, getrlimit};

/// What a node or a client on this machine would find.
pub fn checks(config: &Config) -> Vec<Check> {
    let meminfo = MemInfo::read();
    vec![
        memory(config, &meminfo),
        hugepages(config, &meminfo),
        memlock_limit(config),
        shared_memory(),
        shm_filesystem(),
        files(config),
    ]
}

/// The few lines of /proc/meminfo that matter, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct MemInfo {
    available: Option<u64>,
    huge_free: u64,
    huge_total: u64,
    huge_size: Option<u64>,
}

impl MemInfo {
    fn read() -> MemInfo {
        MemInfo::parse(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    fn parse(text: &str) -> MemInfo {
        let number = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().trim_end_matches("kB").trim().parse().ok()
        };
        MemInfo {
            available: number("MemAvailable").map(|kib| kib << 10),
            huge_free: number("HugePages_Free").unwrap_or(0),
            huge_total: number("HugePages_Total").unwrap_or(0),
            huge_size: number("Hugepagesize").map(|kib| kib << 10),
        }
    }
}

fn memory(config: &Config, meminfo: &MemInfo) -> Check {
    let wanted = config.node.memory;
    let Some(available) = meminfo.available else {
        return Check::warn(
            "memory",
            "this kernel does not say how much memory is available",
            "check it yourself",
        );
    };
    let figures =
        format!("{} are available, node.memory is {}", human::bytes(available), human::bytes(wanted));
    if available < wanted {
        let todo = "for a memory node here: lower node.memory (--node-memory), or free some memory";
        return Check::warn("memory", figures, todo);
    }
    Check::ok("memory", figures)
}

fn hugepages(config: &Config, meminfo: &MemInfo) -> Check {
    let area = "huge pages";
    if config.node.hugepages == Hugepages::Off {
        return Check::ok(area, "turned off (node.hugepages)");
    }
    let Some(size) = meminfo.huge_size else {
        return Check::warn(area, "this kernel has none", "nothing: small pages are used");
    };
    let (needed, free) = (config.node.memory.div_ceil(size), meminfo.huge_free);
    let figures = format!(
        "{} of {} are free, a node of {} needs {}",
        human::count(free),
        human::bytes(size),
        human::bytes(config.node.memory),
        human::count(needed)
    );
    if free >= needed {
        return Check::ok(area, figures);
    }
    let total = meminfo.huge_total - free.min(meminfo.huge_total) + needed;
    let todo = format!(
        "for fewer TLB misses: sysctl vm.nr_hugepages={total} (as root); until then small pages are used"
    );
    match config.node.hugepages {
        Hugepages::Require => Check::fail(
            area,
            figures,
            format!("node.hugepages is require: sysctl vm.nr_hugepages={total} (as root)"),
        ),
        _ => Check::warn(area, figures, todo),
    }
}

fn memlock_limit(config: &Config) -> Check {
    let area = "locked memory";
    match memlock::check(config.node.memory) {
        Ok(()) => {
            let limit = getrlimit(Resource::Memlock).current;
            let limit = match limit {
                None => "no limit".to_owned(),
                Some(limit) if limit < config.node.memory => {
                    format!("the limit of {} does not bind this user", human::bytes(limit))
                }
                Some(limit) => format!("limit {}", human::bytes(limit)),
            };
            Check::ok(
                area,
                format!(
                    "a node of {} could lock its memory for RDMA ({limit})",
                    human::bytes(config.node.memory)
                ),
            )
        }
        Err(too_low) => Check::warn(
            area,
            format!("a node of {} could not lock its memory for RDMA", human::bytes(config.node.memory)),
            too_low.to_string(),
        ),
    }
}

fn shared_memory() -> Check {
    let area = "shared memory";
    match memfd_create("farrow-doctor", MemfdFlags::CLOEXEC) {
        Ok(_) => Check::ok(area, "memory can be shared between processes of this host (memfd)"),
        Err(error) => Check::fail(
            area,
            format!("memory cannot be shared between processes: {error}"),
            "the kernel or a sandbox forbids memfd_create: allow it, without it there is no memory node",
        ),
    }
}

fn shm_filesystem() -> Check {
    let area = "/dev/shm";
    match statvfs("/dev/shm") {
        Ok(found) => {
            let free = human::bytes(found.f_bavail * found.f_frsize);
            Check::ok(area, format!("{free} free; used only where node.memory_file names a file there"))
        }
        Err(error) => Check::warn(
            area,
            format!("not there: {error}"),
            "nothing, unless node.memory_file is to name a file there",
        ),
    }
}

fn files(config: &Config) -> Check {
    let area = "open files";
    // Two connections and some descriptors of queue pairs for each client.
    let needed = u64::from(config.node.max_clients) * 4 + 64;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Check::warn(
            area,
            format!("limit {limit}, a node for {} clients may need {needed}", config.node.max_clients),
            format!(
                "ulimit -n {needed}, or LimitNOFILE={needed} in a systemd service, or lower node.max_clients"
            ),
        ),
        limit => Check::ok(area, format!("limit {}", limit.map_or("unlimited".to_owned(), human::count))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       1000 kB\nMemAvailable:    500 kB\nHugePages_Total:       4\n\
                           HugePages_Free:        3\nHugepagesize:       2048 kB\n";

    #[test]
    fn figures_are_read_as_the_kernel_writes_them() {
        let read = MemInfo::parse(MEMINFO);
        let expected =
            MemInfo { available: Some(500 << 10), huge_free: 3, huge_total: 4, huge_size: Some(2 << 20) };
        assert_eq!(read, expected);
        assert_eq!(MemInfo::parse("odd"), MemInfo::default());
    }

    #[test]
    fn what_is_missing_is_said_with_its_remedy() {
        let mut config = Config::default();
        config.node.memory = 16 << 20;
        let meminfo = MemInfo::parse(MEMINFO);
        assert_eq!(memory(&config, &meminfo).state, super::super::State::Warn);
        // Eight pages are needed, and one is in use by somebody else.
        let check = hugepages(&config, &meminfo);
        assert!(check.todo.unwrap().contains("vm.nr_hugepages=9"));
        config.node.hugepages = Hugepages::Require;
        assert_eq!(hugepages(&config, &meminfo).state, super::super::State::Fail);
    }
}
