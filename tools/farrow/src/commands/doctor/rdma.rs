//! RDMA on this machine: library, kernel, devices, and which GID would be used.

use super::Check;
use farrow_config::{Config, Require, Transport};
use farrow_fabric_verbs::device::{self, Outcome, Overrides, Toward, Verdict};
use farrow_fabric_verbs::sys::Verbs;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::Path;

/// A recipe for a machine without an RNIC.
const SOFT_ROCE: &str =
    "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0    (Soft-RoCE, as root)";

/// What RDMA would be made of here.
pub fn checks(config: &Config) -> Vec<Check> {
    let is_needed = config.fabric.require == Require::Rdma || config.fabric.transport == Transport::Rdma;
    let problem = if is_needed { Check::fail } else { Check::warn };
    let mut checks = vec![match Verbs::load() {
        Ok(_) => Check::ok("RDMA library", "libibverbs is there"),
        Err(error) => problem("RDMA library", "libibverbs cannot be loaded".to_owned(), error.to_string()),
    }];
    checks.push(kernel());
    checks.extend(devices(config, problem));
    checks
}

type Problem = fn(&'static str, String, String) -> Check;

fn kernel() -> Check {
    let area = "RDMA kernel";
    let is_loaded = |module: &str| Path::new("/sys/module").join(module).exists();
    let loaded: Vec<_> =
        ["ib_core", "ib_uverbs", "rdma_rxe", "siw"].into_iter().filter(|m| is_loaded(m)).collect();
    if is_loaded("ib_uverbs") {
        return Check::ok(area, format!("modules loaded: {}", loaded.join(", ")));
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = Path::new("/lib/modules").join(release.trim());
    let has = |list: &str| {
        std::fs::read_to_string(modules.join(list)).is_ok_and(|text| text.contains("/rdma_rxe.ko"))
    };
    if has("modules.dep") || has("modules.builtin") {
        return Check::warn(area, "not loaded, but this kernel has Soft-RoCE (rdma_rxe)", SOFT_ROCE);
    }
    Check::warn(
        area,
        format!("kernel {} has no RDMA modules, Soft-RoCE (rdma_rxe) included", release.trim()),
        "nothing where shared memory is enough; else a kernel with rdma_rxe, or the guest of scripts/rxe",
    )
}

fn devices(config: &Config, problem: Problem) -> Vec<Check> {
    let area = "RDMA device";
    let candidates = match device::candidates() {
        Ok(candidates) => candidates,
        Err(error) => {
            return vec![problem(
                area,
                error.to_string(),
                "check that /sys is mounted and readable".to_owned(),
            )];
        }
    };
    if candidates.is_empty() {
        let what = "none with an address".to_owned();
        return vec![problem(area, what, format!("load the driver of your RNIC, or: {SOFT_ROCE}"))];
    }
    let overrides = Overrides {
        device: config.fabric.device.clone(),
        port: config.fabric.chosen_port(),
        gid_index: config.fabric.chosen_gid_index(),
    };
    let (peer, name) = peer(config);
    let ranking = device::choose(candidates, &Toward::observe(peer), &overrides);
    let mut checks = Vec::new();
    let mut is_first = true;
    for Verdict { candidate, outcome } in &ranking.verdicts {
        let capability = candidate.capability.as_ref();
        let mtu = capability.map_or(String::new(), |c| format!(", MTU {}", 128u32 << c.active_mtu.min(5)));
        let kind = if candidate.emulated { "emulated" } else { "hardware" };
        checks.push(match outcome {
            Outcome::Accepted(why) if std::mem::take(&mut is_first) => {
                Check::ok(area, format!("{candidate}{mtu}, {kind}: used toward {name}, for it {why}"))
            }
            Outcome::Accepted(why) => {
                Check::ok(area, format!("{candidate}{mtu}, {kind}: next in line, for it {why}"))
            }
            Outcome::Refused(why) => Check::ok(area, format!("{candidate}, {kind}: not used: {why}")),
        });
    }
    if is_first {
        let why = "no GID of any device can be used".to_owned();
        let todo = "see the lines above; fabric.device, fabric.port and fabric.gid_index override the choice"
            .to_owned();
        checks.push(problem(area, why, todo));
    }
    checks
}

/// Whom the devices are ranked toward: the first node, or without nodes this machine itself.
fn peer(config: &Config) -> (IpAddr, String) {
    let first = config.cluster.nodes.first();
    let resolved = first.and_then(|node| Some((node.to_socket_addrs().ok()?.next()?.ip(), node.clone())));
    resolved.unwrap_or((Ipv4Addr::LOCALHOST.into(), "this machine itself (no cluster.nodes)".to_owned()))
}
