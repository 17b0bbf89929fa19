//! Which devices, ports and GIDs this machine has, and which of them to use toward a peer.
//!
//! ```text
//!   /sys/class/infiniband ──► sysfs::scan ──┐
//!   libibverbs (limits, MTU) ───────────────┴► Vec<Candidate> ──┐
//!   kernel's routes toward the peer ─────────► Toward ──────────┼► choose ──► Ranking: accepted best first,
//!   the operator's words ────────────────────► Overrides ───────┘             refused each with its reason
//! ```
//!
//! Looking and deciding are apart: [`choose`] is a pure function.

mod choice;
mod gid;
mod network;
mod sysfs;

use std::fmt;
use std::io;
use std::path::Path;

use thiserror::Error;

pub use choice::{NoDevice, Outcome, Overrides, Preference, Ranking, Verdict, choose};
pub use gid::{Gid, GidType};
pub use network::{Subnet, Toward};
pub use sysfs::scan;

use crate::sys::{AtomicScope, CallError, Context, DeviceLimits, OpenError};

/// Where the kernel lists RDMA devices.
pub const SYSFS_ROOT: &str = "/sys/class/infiniband";

/// One GID of one port of one device: what a queue pair is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The device, as libibverbs calls it.
    pub device: String,
    /// Whether the device is Soft-RoCE and the like rather than hardware.
    pub emulated: bool,
    /// What the device speaks.
    pub transport: Transport,
    /// The port, counted from 1.
    pub port: u8,
    /// The state of the port.
    pub state: PortState,
    /// What the port is plugged into.
    pub link_layer: LinkLayer,
    /// The place in the port's GID table.
    pub gid_index: u8,
    /// The GID.
    pub gid: Gid,
    /// How packets with this GID look on the wire.
    pub gid_type: GidType,
    /// The network device behind the GID; InfiniBand ports may have none.
    pub netdev: Option<String>,
    /// What the device can do, or why nobody could find out.
    pub capability: Result<Capability, String>,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} port {} GID {} ({}, {}",
            self.device, self.port, self.gid_index, self.gid, self.gid_type
        )?;
        match &self.netdev {
            Some(netdev) => write!(f, ", {netdev})"),
            None => f.write_str(")"),
        }
    }
}

/// What an opened device and its port say of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The limits of the device.
    pub limits: DeviceLimits,
    /// The MTU of the port, in the encoding of the verbs: 5 is 4096 bytes.
    pub active_mtu: u32,
    /// The InfiniBand address of the port; 0 on Ethernet.
    pub lid: u16,
}

/// What a device speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// InfiniBand, or RoCE, which is InfiniBand above Ethernet.
    InfiniBand,
    /// iWARP.
    Iwarp,
    /// Something else that has verbs, but not these.
    Other,
}

/// The state of a port. Only an active one carries packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Usable.
    Active,
    /// Any other, in the kernel's word (`DOWN`, `INIT`).
    Not(String),
}

/// What a port is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// An InfiniBand fabric, whose subnet manager assigns addresses.
    InfiniBand,
    /// Ethernet.
    Ethernet,
}

/// The devices of this machine could not be looked at.
#[derive(Debug, Error)]
#[error("the RDMA devices under {root} could not be listed: {source}")]
pub struct ProbeError {
    root: String,
    source: io::Error,
}

/// Everything this machine has, with the limits of each device. No device is an empty list.
///
/// Opens each device for a moment. One that does not open stays in the list, with the reason, so that the
/// operator is told of it when nothing else fits.
///
/// # Errors
/// The kernel's list could not be read.
pub fn candidates() -> Result<Vec<Candidate>, ProbeError> {
    let mut found =
        scan(Path::new(SYSFS_ROOT)).map_err(|source| ProbeError { root: SYSFS_ROOT.to_owned(), source })?;
    let mut opened: Option<(String, Result<Opened, String>)> = None;
    for candidate in &mut found {
        let fresh = opened.take_if(|(device, _)| *device == candidate.device).map(|(_, opened)| opened);
        let device = fresh.unwrap_or_else(|| Opened::open(&candidate.device).map_err(|e| e.to_string()));
        candidate.capability = device
            .as_ref()
            .map_err(String::clone)
            .and_then(|device| device.capability(candidate.port).map_err(|error| error.to_string()));
        opened = Some((candidate.device.clone(), device));
    }
    Ok(found)
}

/// A device that is open while its ports are asked.
struct Opened {
    context: std::sync::Arc<Context>,
    limits: DeviceLimits,
}

impl Opened {
    fn open(name: &str) -> Result<Opened, OpenError> {
        let context = Context::open(name)?;
        let limits = context.limits()?;
        Ok(Opened { context, limits })
    }

    fn capability(&self, port: u8) -> Result<Capability, CallError> {
        let port = self.context.port(port)?;
        Ok(Capability { limits: self.limits, active_mtu: port.active_mtu, lid: port.lid })
    }
}

impl Capability {
    /// Whether the protocols can run on it at all: they stand on remote atomics.
    fn has_atomics(&self) -> bool {
        self.limits.atomics != AtomicScope::None
    }
}
