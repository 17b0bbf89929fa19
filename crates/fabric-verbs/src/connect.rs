//! The client's half of making a link.

use farrow_control::message::{RdmaChunk, RdmaEnd};
use farrow_layout::NodeId;
use thiserror::Error;

use crate::engine::Engine;
use crate::link::{Core, VerbsLink};
use crate::plan::Limits;
use crate::port::{Path, mtu_bytes, random_psn};
use crate::sys::{Access, CallError, InitAttr, QpCaps, QueuePair, RtrAttr, RtsAttr, WordRegion};
use crate::window::{BadMemory, Window};

/// How links are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// Work requests that the device holds for a link; rounded up to a power of two. Chains beyond wait in a queue of the
    /// link. More helps only where more verbs fit in the round trip time: at 2 µs and 10 million verbs/s these are 20.
    pub depth: u32,
    /// Bytes that a WRITE carries in its work request, if the device allows as many. Saves the device a fetch over PCIe,
    /// and costs space in the queue.
    pub inline: u32,
    /// How long to wait for an acknowledgement before sending again: 4.096 µs times two to the power of this (14 is 67 ms).
    /// Devices wait up to four times as long, and some have a least value of their own (about 16).
    pub timeout: u8,
    /// How often to send again before the peer counts as lost; at most 7. A dead peer is detected after
    /// (`retries` + 1) timeouts: 470 ms with the defaults, up to 1.9 s on a device that waits four times as long.
    pub retries: u8,
    /// Routers that a packet may pass.
    pub hop_limit: u8,
    /// DSCP and ECN bits of RoCE v2; the switches' lossless class, where there is one.
    pub traffic_class: u8,
    /// The service level on InfiniBand, the priority on Ethernet.
    pub service_level: u8,
    /// The partition of the fabric, by its index at the own port.
    pub pkey_index: u16,
}

impl Default for LinkOptions {
    fn default() -> Self {
        LinkOptions {
            depth: 256,
            inline: 220,
            timeout: 14,
            retries: 6,
            hop_limit: 64,
            traffic_class: 0,
            service_level: 0,
            pkey_index: 0,
        }
    }
}

impl LinkOptions {
    pub(crate) fn path(&self) -> Path {
        let &LinkOptions { hop_limit, traffic_class, service_level, .. } = self;
        Path { hop_limit, traffic_class, service_level }
    }

    /// Work requests in the send queue: a power of two, so that numbers that wrap have places in a ring.
    pub(crate) fn requests(&self) -> u32 {
        self.depth.clamp(MIN_DEPTH, 1 << 15).next_power_of_two()
    }
}

/// Two full chains, and what they are cut into.
const MIN_DEPTH: u32 = 32;
/// A queue pair of a client answers nobody, but devices want a number.
const CLIENT_RESPONDER_READS: u8 = 1;

/// A link could not be made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The completion queue was made for fewer links.
    #[error("all {max} RDMA links of this thread are in use: raise the number of links per thread")]
    TooManyLinks {
        /// How many there may be.
        max: u32,
    },
    /// The device refused something.
    #[error("RDMA device {device}: {why}")]
    Device {
        /// Its name.
        device: String,
        /// What, why, and what to do.
        why: String,
    },
    /// The node's memory makes no sense.
    #[error(transparent)]
    Memory(#[from] BadMemory),
    /// The node's end makes no sense.
    #[error("the node's end of the link does not make sense: {what}; does it run the same version?")]
    End {
        /// What is wrong.
        what: &'static str,
    },
}

/// A queue pair that waits to be told who its peer is.
#[derive(Debug)]
pub struct Connecting {
    engine: Engine,
    queue_pair: QueuePair,
    ring: WordRegion,
    psn: u32,
    options: LinkOptions,
}

impl Connecting {
    pub(crate) fn start(engine: &Engine, options: &LinkOptions) -> Result<Connecting, ConnectError> {
        engine.check_room()?;
        let port = engine.port();
        let device = |error: CallError| refused(engine, &error);
        let requests = options.requests();
        let create = |inline: u32| {
            let caps = QpCaps {
                max_send_wr: requests,
                max_recv_wr: 0,
                max_send_sge: engine.entries() as u32,
                max_inline_data: inline,
            };
            QueuePair::create(port.domain(), engine.queue(), engine.queue(), caps)
        };
        // No call tells how much inline data a device takes, except the one that makes a queue pair.
        let queue_pair = create(options.inline)
            .or_else(|_| create(options.inline.min(60)))
            .or_else(|_| create(0))
            .map_err(device)?;
        queue_pair
            .to_init(&InitAttr {
                port: port.candidate().port,
                pkey_index: options.pkey_index,
                access: Access::LOCAL_READ,
            })
            .map_err(device)?;
        let ring = WordRegion::new(port.domain(), 2 * requests as usize).map_err(device)?;
        Ok(Connecting { engine: engine.clone(), queue_pair, ring, psn: random_psn(), options: *options })
    }

    /// This end, for the node.
    pub fn end(&self) -> RdmaEnd {
        self.engine.port().end(&self.queue_pair, self.psn, CLIENT_RESPONDER_READS)
    }

    /// Completes the link with what the node answered. Nothing has crossed the wire then: READ something that is known,
    /// the superblock, before relying on the path.
    ///
    /// # Errors
    /// [`ConnectError`]. The queue pair is gone then, and the node should be told to close its end.
    pub fn finish(
        self,
        node: NodeId,
        peer: &RdmaEnd,
        memory: Vec<RdmaChunk>,
    ) -> Result<VerbsLink, ConnectError> {
        let Connecting { engine, queue_pair, ring, psn, options } = self;
        let port = engine.port();
        let window = Window::new(memory)?;
        let end = |what| ConnectError::End { what };
        let path_mtu = port.path_mtu(peer).ok_or_else(|| end("an MTU that does not exist"))?;
        let reads = peer.responder_reads.min(port.initiator_reads());
        if reads == 0 {
            return Err(end("it answers no READs"));
        }
        let device = |error: CallError| refused(&engine, &error);
        queue_pair
            .to_ready_to_receive(&RtrAttr {
                path_mtu,
                remote_queue_pair: peer.qpn,
                receive_psn: peer.psn,
                max_dest_rd_atomic: CLIENT_RESPONDER_READS,
                min_rnr_timer: MIN_RNR_TIMER,
                address: port.address(peer, &options.path()),
            })
            .map_err(device)?;
        queue_pair
            .to_ready_to_send(&RtsAttr {
                timeout: options.timeout.min(31),
                retry_count: options.retries.min(7),
                rnr_retry: 7,
                send_psn: psn,
                max_rd_atomic: reads,
            })
            .map_err(device)?;
        let limits = Limits {
            entries: engine.entries(),
            inline: queue_pair.caps().max_inline_data.min(options.inline) as usize,
            message: u64::from(port.max_message_len()).clamp(1 << 12, 1 << 30),
            requests: options.requests() as usize,
        };
        let mtu = u64::from(mtu_bytes(path_mtu));
        let holds_fences = port.candidate().emulated;
        engine.add(|id, shared| {
            Core::new(id, node, shared, queue_pair, ring, window, limits, mtu, reads, holds_fences)
        })
    }
}

/// No receives are ever posted, so nobody waits for one; 0.64 ms.
pub(crate) const MIN_RNR_TIMER: u8 = 12;

fn refused(engine: &Engine, error: &CallError) -> ConnectError {
    ConnectError::Device {
        device: engine.port().candidate().device.clone(),
        why: crate::memlock::explain(error),
    }
}
