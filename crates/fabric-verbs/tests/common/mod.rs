//! A memory node and its clients in one process, on whatever RDMA devices there are.
#![allow(dead_code, reason = "each test program uses its part")]

use std::net::IpAddr;
use std::sync::Arc;

use farrow_control::message::RdmaChunk;
use farrow_fabric::Mapping;
use farrow_fabric_verbs::device::{
    Candidate, Outcome, Overrides, Preference, Toward, Verdict, candidates, choose,
};
use farrow_fabric_verbs::{EngineOptions, HostOptions, LinkOptions, Port, VerbsFabric, VerbsHost, VerbsLink};
use farrow_layout::NodeId;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

pub const NODE: NodeId = NodeId(3);

/// The node's device and the client's: two ends of one wire if there are two, otherwise the same one.
#[derive(Clone)]
pub struct Devices {
    pub node: Candidate,
    pub client: Candidate,
}

/// Nothing, after having said so, on a machine without RDMA; there `FARROW_REQUIRE_RDMA` makes it a failure.
pub fn devices() -> Option<Devices> {
    let found = candidates().expect("sysfs is readable");
    let ranking = choose(found, &Toward::observe(IpAddr::from([10, 9, 0, 1])), &Overrides::default());
    let node = match ranking.best() {
        Ok(best) => best.clone(),
        Err(none) if std::env::var_os("FARROW_REQUIRE_RDMA").is_some() => panic!("no device: {none}"),
        Err(none) => {
            eprintln!("\n*** SKIP: this test needs an RDMA device, real or Soft-RoCE: {none}\n");
            return None;
        }
    };
    let is_across = |verdict: &&Verdict| {
        let is_near = matches!(verdict.outcome, Outcome::Accepted(p) if p <= Preference::SameSubnet);
        is_near && verdict.candidate.device != node.device
    };
    let client = ranking.verdicts.iter().find(is_across).map_or(&node, |verdict| &verdict.candidate).clone();
    Some(Devices { node, client })
}

pub fn mapping(len: u64) -> Arc<Mapping> {
    let file = memfd_create("node", MemfdFlags::CLOEXEC).expect("a memory file");
    ftruncate(&file, len).expect("sized");
    Arc::new(Mapping::shared(&file, len as usize).expect("mapped"))
}

/// Links as they are made here: an emulated processor is slow to acknowledge.
pub fn options(devices: &Devices) -> EngineOptions {
    let slow = LinkOptions { timeout: 16, retries: 6, ..LinkOptions::default() };
    let link = if devices.client.emulated { slow } else { LinkOptions::default() };
    EngineOptions { max_links: 16, link, spin: None }
}

pub fn host(devices: &Devices, memory: &Arc<Mapping>, chunk_len: u64) -> VerbsHost {
    let options = HostOptions { chunk_len, ..HostOptions::default() };
    VerbsHost::start(std::slice::from_ref(&devices.node), memory, options, 1).expect("a host")
}

pub fn port(devices: &Devices) -> Arc<Port> {
    Port::open(&devices.client).expect("opens")
}

/// The handshake, without a control channel between.
pub fn connect(fabric: &VerbsFabric, host: &VerbsHost) -> VerbsLink {
    connect_with(fabric, host, |_| {})
}

pub fn connect_with(
    fabric: &VerbsFabric,
    host: &VerbsHost,
    spoil: impl FnOnce(&mut [RdmaChunk]),
) -> VerbsLink {
    let connecting = fabric.connect().expect("a queue pair");
    let mut accepted = host.accept(&connecting.end(), None).expect("accepted");
    spoil(&mut accepted.memory);
    connecting.finish(NODE, &accepted.end, accepted.memory).expect("connected")
}
