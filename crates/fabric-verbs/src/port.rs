//! An opened device, at the port and GID that were chosen.

use std::sync::Arc;

use farrow_control::message::RdmaEnd;
use thiserror::Error;

use crate::device::{Candidate, Capability, LinkLayer};
use crate::sys::{
    CallError, Context, DeviceLimits, OpenError, PathAddress, PortInfo, ProtectionDomain, QueuePair,
};

/// One GID of one port of an open device, and the domain of the memory and queue pairs made there. Shared by the threads
/// of a process.
#[derive(Debug)]
pub struct Port {
    candidate: Candidate,
    capability: Capability,
    max_message_len: u32,
    domain: Arc<ProtectionDomain>,
}

/// A port could not be opened.
#[derive(Debug, Error)]
pub enum PortError {
    /// The device did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The device refused something.
    #[error("RDMA device {device}: {source}")]
    Call {
        /// Its name.
        device: String,
        /// What and why.
        #[source]
        source: CallError,
    },
    /// The port is not usable now.
    #[error(
        "RDMA device {device}: port {port} is not active: check the cable, or bring its network device up"
    )]
    Inactive {
        /// The device.
        device: String,
        /// The port.
        port: u8,
    },
}

impl Port {
    /// Opens what [`crate::device::choose`] has chosen.
    ///
    /// # Errors
    /// [`PortError`].
    pub fn open(candidate: &Candidate) -> Result<Arc<Port>, PortError> {
        let context = Context::open(&candidate.device)?;
        let call = |source| PortError::Call { device: candidate.device.clone(), source };
        let domain = ProtectionDomain::allocate(&context).map_err(call)?;
        Port::on(&domain, candidate).map(Arc::new)
    }

    /// Another port, or GID, of a device that is open already.
    pub(crate) fn on(domain: &Arc<ProtectionDomain>, candidate: &Candidate) -> Result<Port, PortError> {
        let device = || candidate.device.clone();
        let call = |source| PortError::Call { device: device(), source };
        let context = domain.context();
        let info: PortInfo = context.port(candidate.port).map_err(call)?;
        if !info.active {
            return Err(PortError::Inactive { device: device(), port: candidate.port });
        }
        let limits = context.limits().map_err(call)?;
        Ok(Port {
            candidate: candidate.clone(),
            capability: Capability { limits, active_mtu: info.active_mtu, lid: info.lid },
            max_message_len: info.max_message_len,
            domain: Arc::clone(domain),
        })
    }

    /// What it was opened for.
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// What the device can do.
    pub fn limits(&self) -> &DeviceLimits {
        &self.capability.limits
    }

    pub(crate) fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.domain
    }

    pub(crate) fn max_message_len(&self) -> u32 {
        self.max_message_len
    }

    /// READs and atomics that a queue pair of this port answers at a time.
    pub(crate) fn responder_reads(&self) -> u8 {
        u8::try_from(self.limits().max_qp_rd_atomic).unwrap_or(u8::MAX)
    }

    /// READs and atomics that a queue pair of this port can have on their way.
    pub(crate) fn initiator_reads(&self) -> u8 {
        u8::try_from(self.limits().max_qp_init_rd_atomic).unwrap_or(u8::MAX)
    }

    /// What a peer needs to know of `queue_pair`, which is of this port.
    pub(crate) fn end(&self, queue_pair: &QueuePair, psn: u32, responder_reads: u8) -> RdmaEnd {
        RdmaEnd {
            qpn: queue_pair.number(),
            psn,
            lid: self.capability.lid,
            gid: self.candidate.gid.0,
            mtu: mtu_bytes(self.capability.active_mtu),
            responder_reads,
        }
    }

    /// The MTU of a path to `peer`, as the verbs encode it. Nothing if the peer named an MTU that does not exist.
    pub(crate) fn path_mtu(&self, peer: &RdmaEnd) -> Option<u32> {
        let theirs = (1..=5).find(|code| mtu_bytes(*code) == peer.mtu)?;
        Some(theirs.min(self.capability.active_mtu.clamp(1, 5)))
    }

    /// The way to `peer`.
    pub(crate) fn address(&self, peer: &RdmaEnd, path: &Path) -> PathAddress {
        let own = self.candidate.gid.0;
        let is_other_subnet = own[..8] != peer.gid[..8];
        PathAddress {
            gid: peer.gid,
            source_gid_index: self.candidate.gid_index,
            hop_limit: path.hop_limit,
            traffic_class: path.traffic_class,
            lid: peer.lid,
            service_level: path.service_level,
            // On InfiniBand the LID is enough within a subnet, and cheaper.
            global: self.candidate.link_layer == LinkLayer::Ethernet || peer.lid == 0 || is_other_subnet,
            port: self.candidate.port,
        }
    }
}

/// How packets are marked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    pub(crate) service_level: u8,
}

/// Bytes of an MTU in the encoding of the verbs.
pub(crate) fn mtu_bytes(code: u32) -> u16 {
    128 << code.clamp(1, 5)
}

/// A packet sequence number to begin with. It keeps packets of an earlier connection with the same numbers out.
pub(crate) fn random_psn() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(std::process::id()) as u32) & 0xff_ffff
}
