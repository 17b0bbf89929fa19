//! A reliable connection: its life from creation to error, and posting on it.

use std::ffi::c_int;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use thiserror::Error;

use super::abi::*;
use super::completion::CompletionQueue;
use super::context::complain;
use super::library::CallError;
use super::memory::{Access, ProtectionDomain};
use super::work_request::SendWr;

/// A reliable connected queue pair. Reset when made; usable after [`QueuePair::to_init`],
/// [`QueuePair::to_ready_to_receive`] and [`QueuePair::to_ready_to_send`], in this order, on both sides.
pub struct QueuePair {
    raw: NonNull<ibv_qp>,
    caps: QpCaps,
    // After the drop of the queue pair itself: what it refers to.
    send_queue: Arc<CompletionQueue>,
    _receive_queue: Arc<CompletionQueue>,
    domain: Arc<ProtectionDomain>,
}

// SAFETY: libibverbs documents its functions as thread-safe, and providers lock the send queue while posting;
// the struct is only read here.
unsafe impl Send for QueuePair {}
// SAFETY: as above.
unsafe impl Sync for QueuePair {}

/// How much a queue pair holds. The device may grant more than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpCaps {
    /// Work requests posted and not known to be completed.
    pub max_send_wr: u32,
    /// Receives; one-sided verbs need none, and 0 is accepted everywhere.
    pub max_recv_wr: u32,
    /// Scatter entries of one work request.
    pub max_send_sge: u32,
    /// Bytes of inline data of one work request.
    pub max_inline_data: u32,
}

/// What [`QueuePair::to_init`] sets.
#[derive(Clone, Copy, Debug)]
pub struct InitAttr {
    /// The port, counted from 1.
    pub port: u8,
    /// The partition; 0 is the default one.
    pub pkey_index: u16,
    /// What the peer may do through this queue pair, within what each region allows.
    pub access: Access,
}

/// Where the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathAddress {
    /// The peer's GID. Not used on InfiniBand when `global` is not set.
    pub gid: [u8; 16],
    /// The index of the own GID: it decides the source address, and RoCE v1 or v2.
    pub source_gid_index: u8,
    /// Routers a packet may pass.
    pub hop_limit: u8,
    /// The DSCP and ECN bits of RoCE v2.
    pub traffic_class: u8,
    /// The peer's LID on InfiniBand; 0 on Ethernet.
    pub lid: u16,
    /// The service level (InfiniBand) or priority (Ethernet).
    pub service_level: u8,
    /// Whether GIDs are used at all; must be set on Ethernet.
    pub global: bool,
    /// The own port, counted from 1.
    pub port: u8,
}

/// What [`QueuePair::to_ready_to_receive`] sets.
#[derive(Clone, Copy, Debug)]
pub struct RtrAttr {
    /// The MTU as the verbs encode it (5 is 4096 bytes): the smaller one of the two ports.
    pub path_mtu: u32,
    /// The peer's queue pair.
    pub remote_queue_pair: u32,
    /// The packet sequence number the peer starts with, 24 bits.
    pub receive_psn: u32,
    /// READs and atomics of the peer that are answered at a time.
    pub max_dest_rd_atomic: u8,
    /// The peer's wait when no receive is posted, encoded; of no matter for one-sided verbs.
    pub min_rnr_timer: u8,
    /// Where the peer is.
    pub address: PathAddress,
}

/// What [`QueuePair::to_ready_to_send`] sets.
#[derive(Clone, Copy, Debug)]
pub struct RtsAttr {
    /// The wait for an acknowledgement: 4.096 us times two to the power of this; 14 is 67 ms.
    pub timeout: u8,
    /// Retries before the queue pair breaks, at most 7.
    pub retry_count: u8,
    /// Retries when the peer has no receive posted, at most 7 (for ever).
    pub rnr_retry: u8,
    /// The packet sequence number to start with, 24 bits.
    pub send_psn: u32,
    /// READs and atomics under way at a time; at most the peer's `max_dest_rd_atomic`.
    pub max_rd_atomic: u8,
}

/// `enum ibv_qp_state`. A number, because a newer library may have more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpState(pub u32);

impl QpState {
    /// Just made.
    pub const RESET: QpState = QpState(0);
    /// Initialised.
    pub const INIT: QpState = QpState(IBV_QPS_INIT);
    /// Ready to receive.
    pub const RTR: QpState = QpState(IBV_QPS_RTR);
    /// Ready to send.
    pub const RTS: QpState = QpState(IBV_QPS_RTS);
    /// Broken: everything posted is flushed, and nothing but dropping it helps.
    pub const ERROR: QpState = QpState(IBV_QPS_ERR);
}

/// What the device says of a queue pair now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpSeen {
    /// Its state.
    pub state: QpState,
    /// The peer's queue pair.
    pub remote_queue_pair: u32,
    /// READs and atomics under way at a time, as set.
    pub max_rd_atomic: u8,
    /// READs and atomics answered at a time, as set.
    pub max_dest_rd_atomic: u8,
}

/// A list of work requests was not posted, or not all of it.
#[derive(Debug, Error)]
#[error("ibv_post_send refused work request {refused} of the list: {source}; those before it were posted")]
pub struct PostError {
    /// The index of the first one that was **not** posted. All before it were, and take effect.
    pub refused: usize,
    /// Why. `ENOMEM`: the queue is full. `EINVAL`: too many scatter entries, too much inline data, or the
    /// queue pair is in no state to send.
    pub source: io::Error,
}

impl QueuePair {
    /// Makes a queue pair. Only work requests that ask for it complete visibly.
    ///
    /// # Errors
    /// The device has no more of them, or refuses `caps`.
    pub fn create(
        domain: &Arc<ProtectionDomain>,
        send_queue: &Arc<CompletionQueue>,
        receive_queue: &Arc<CompletionQueue>,
        caps: QpCaps,
    ) -> Result<QueuePair, CallError> {
        for queue in [send_queue, receive_queue] {
            assert!(Arc::ptr_eq(&queue.context, &domain.context), "queues and domain are of one device");
        }
        let mut attr = ibv_qp_init_attr {
            qp_context: ptr::null_mut(),
            send_cq: send_queue.raw.as_ptr(),
            recv_cq: receive_queue.raw.as_ptr(),
            srq: ptr::null_mut(),
            cap: ibv_qp_cap {
                max_send_wr: caps.max_send_wr,
                max_recv_wr: caps.max_recv_wr,
                max_send_sge: caps.max_send_sge,
                max_recv_sge: u32::from(caps.max_recv_wr > 0),
                max_inline_data: caps.max_inline_data,
            },
            qp_type: IBV_QPT_RC,
            sq_sig_all: 0,
        };
        // SAFETY: domain and queues are alive, and kept alive by the `Arc`s below.
        let raw = unsafe { (domain.context.verbs.create_qp)(domain.raw.as_ptr(), &mut attr) };
        let raw = NonNull::new(raw).ok_or_else(|| CallError::last("ibv_create_qp"))?;
        Ok(QueuePair {
            raw,
            caps: QpCaps {
                max_send_wr: attr.cap.max_send_wr,
                max_recv_wr: attr.cap.max_recv_wr,
                max_send_sge: attr.cap.max_send_sge,
                max_inline_data: attr.cap.max_inline_data,
            },
            send_queue: Arc::clone(send_queue),
            _receive_queue: Arc::clone(receive_queue),
            domain: Arc::clone(domain),
        })
    }

    /// Its number, 24 bits: what the peer connects to, and what completions carry.
    pub fn number(&self) -> u32 {
        // SAFETY: the queue pair is alive, and its number never changes.
        unsafe { (*self.raw.as_ptr()).qp_num }
    }

    /// What the device granted.
    pub fn caps(&self) -> QpCaps {
        self.caps
    }

    /// The queue its work requests complete on.
    pub fn send_queue(&self) -> &Arc<CompletionQueue> {
        &self.send_queue
    }

    /// The domain whose memory regions it can use.
    pub fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.domain
    }

    /// Reset to initialised: which port, and what the peer may do.
    ///
    /// # Errors
    /// The wrong state, or no such port.
    pub fn to_init(&self, init: &InitAttr) -> Result<(), CallError> {
        let attr = ibv_qp_attr {
            qp_state: IBV_QPS_INIT,
            pkey_index: init.pkey_index,
            port_num: init.port,
            qp_access_flags: init.access.bits(),
            ..ibv_qp_attr::default()
        };
        self.modify(attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS)
    }

    /// Initialised to ready to receive: who the peer is. From here on the peer's verbs are answered.
    ///
    /// # Errors
    /// The wrong state, or an address that cannot be resolved (`ETIMEDOUT`, `ENETUNREACH`).
    pub fn to_ready_to_receive(&self, rtr: &RtrAttr) -> Result<(), CallError> {
        let address = &rtr.address;
        let attr = ibv_qp_attr {
            qp_state: IBV_QPS_RTR,
            path_mtu: rtr.path_mtu,
            dest_qp_num: rtr.remote_queue_pair,
            rq_psn: rtr.receive_psn & PSN_MASK,
            max_dest_rd_atomic: rtr.max_dest_rd_atomic,
            min_rnr_timer: rtr.min_rnr_timer,
            ah_attr: ibv_ah_attr {
                grh: ibv_global_route {
                    dgid: ibv_gid { raw: address.gid },
                    flow_label: 0,
                    sgid_index: address.source_gid_index,
                    hop_limit: address.hop_limit,
                    traffic_class: address.traffic_class,
                },
                dlid: address.lid,
                sl: address.service_level,
                src_path_bits: 0,
                static_rate: 0,
                is_global: u8::from(address.global),
                port_num: address.port,
            },
            ..ibv_qp_attr::default()
        };
        self.modify(
            attr,
            IBV_QP_STATE
                | IBV_QP_AV
                | IBV_QP_PATH_MTU
                | IBV_QP_DEST_QPN
                | IBV_QP_RQ_PSN
                | IBV_QP_MAX_DEST_RD_ATOMIC
                | IBV_QP_MIN_RNR_TIMER,
        )
    }

    /// Ready to receive to ready to send.
    ///
    /// # Errors
    /// The wrong state.
    pub fn to_ready_to_send(&self, rts: &RtsAttr) -> Result<(), CallError> {
        let attr = ibv_qp_attr {
            qp_state: IBV_QPS_RTS,
            timeout: rts.timeout,
            retry_cnt: rts.retry_count,
            rnr_retry: rts.rnr_retry,
            sq_psn: rts.send_psn & PSN_MASK,
            max_rd_atomic: rts.max_rd_atomic,
            ..ibv_qp_attr::default()
        };
        self.modify(
            attr,
            IBV_QP_STATE
                | IBV_QP_TIMEOUT
                | IBV_QP_RETRY_CNT
                | IBV_QP_RNR_RETRY
                | IBV_QP_SQ_PSN
                | IBV_QP_MAX_QP_RD_ATOMIC,
        )
    }

    /// Breaks it on purpose, from any state: what is posted completes as flushed, and the peer's verbs are
    /// answered no more. This is how a memory node shuts a client out.
    ///
    /// # Errors
    /// The device is gone.
    pub fn to_error(&self) -> Result<(), CallError> {
        let attr = ibv_qp_attr { qp_state: IBV_QPS_ERR, ..ibv_qp_attr::default() };
        self.modify(attr, IBV_QP_STATE)
    }

    /// Asks the device. A system call, not for the data path.
    ///
    /// # Errors
    /// The device is gone.
    pub fn query(&self) -> Result<QpSeen, CallError> {
        let mut attr = ibv_qp_attr::default();
        let mut init = MaybeUninit::<ibv_qp_init_attr>::zeroed();
        let mask =
            IBV_QP_STATE | IBV_QP_DEST_QPN | IBV_QP_MAX_QP_RD_ATOMIC | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_CAP;
        // SAFETY: the queue pair is alive and both structs are whole.
        let returned = unsafe {
            (self.domain.context.verbs.query_qp)(self.raw.as_ptr(), &mut attr, mask, init.as_mut_ptr())
        };
        CallError::check("ibv_query_qp", returned)?;
        Ok(QpSeen {
            state: QpState(attr.qp_state),
            remote_queue_pair: attr.dest_qp_num,
            max_rd_atomic: attr.max_rd_atomic,
            max_dest_rd_atomic: attr.max_dest_rd_atomic,
        })
    }

    /// Posts `list` with one doorbell. The requests are started in order.
    ///
    /// # Errors
    /// [`PostError`] tells how many were posted nevertheless.
    ///
    /// # Safety
    /// For each request of `list`:
    /// - its scatter entries must be readable during this call;
    /// - unless it is inline, the memory they name must stay mapped and registered, and must not be touched
    ///   in a way that races with the device (written, for WRITE; read or written, for READ and atomics),
    ///   until its completion, or that of a later request on this queue pair, was polled, or the queue pair
    ///   was dropped;
    /// - if it is inline, that memory must be readable during this call.
    #[inline]
    pub unsafe fn post_send(&self, list: &mut [SendWr]) -> Result<(), PostError> {
        let Some(last) = list.len().checked_sub(1) else { return Ok(()) };
        // One pointer for the whole slice, from which all links derive: a link made from a reference to one
        // element would not be allowed to reach the next.
        let first: *mut ibv_send_wr = list.as_mut_ptr().cast();
        for at in 0..last {
            // SAFETY: `at` and `at + 1` are inside the slice, and `SendWr` is an `ibv_send_wr`.
            unsafe { (*first.add(at)).next = first.add(at + 1) };
        }
        // SAFETY: `last` is inside the slice.
        unsafe { (*first.add(last)).next = ptr::null_mut() };

        let mut refused = ptr::null_mut();
        let queue_pair = self.raw.as_ptr();
        // SAFETY: the queue pair and its context are alive; the pointer is the provider's own, set by the
        // library when it opened the device. The list is linked and terminated above; the rest is the
        // caller's promise. The provider has copied the list when it returns.
        let returned = unsafe {
            match (*(*queue_pair).context).ops.post_send {
                Some(post_send) => post_send(queue_pair, first, &mut refused),
                None => rustix::io::Errno::NOSYS.raw_os_error(),
            }
        };
        if returned == 0 {
            return Ok(());
        }
        Err(refused_at(first, refused, list.len(), returned))
    }

    fn modify(&self, mut attr: ibv_qp_attr, mask: c_int) -> Result<(), CallError> {
        // SAFETY: the queue pair is alive and `attr` is whole.
        let returned = unsafe { (self.domain.context.verbs.modify_qp)(self.raw.as_ptr(), &mut attr, mask) };
        CallError::check("ibv_modify_qp", returned)
    }
}

/// Packet sequence numbers have 24 bits, and providers differ in whether they mind more.
const PSN_MASK: u32 = 0xff_ffff;

#[cold]
fn refused_at(
    first: *const ibv_send_wr,
    refused: *const ibv_send_wr,
    len: usize,
    returned: c_int,
) -> PostError {
    let offset = refused.addr().wrapping_sub(first.addr()) / size_of::<ibv_send_wr>();
    PostError {
        // A provider that names none of ours leaves the worst: all of it may have been posted, or nothing.
        // Nothing is what happens in practice, when the whole call is refused.
        refused: if refused.is_null() || offset >= len { 0 } else { offset },
        source: if returned > 0 {
            io::Error::from_raw_os_error(returned)
        } else {
            io::Error::last_os_error()
        },
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // SAFETY: the queue pair is alive and destroyed once, before what it refers to.
        let returned = unsafe { (self.domain.context.verbs.destroy_qp)(self.raw.as_ptr()) };
        complain("ibv_destroy_qp", returned);
    }
}

impl fmt::Debug for QueuePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuePair")
            .field("number", &self.number())
            .field("caps", &self.caps)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_request_is_found_by_its_place_in_the_list() {
        let mut list = [SendWr::write(0, ptr::null_mut(), 0, 0, 0, super::super::WrFlags::NONE); 3];
        let first: *mut ibv_send_wr = list.as_mut_ptr().cast();
        assert_eq!(refused_at(first, first, 3, 12).refused, 0);
        assert_eq!(refused_at(first, first.wrapping_add(2), 3, 12).refused, 2);
        assert_eq!(refused_at(first, ptr::null(), 3, 12).refused, 0);
        assert_eq!(refused_at(first, first.wrapping_add(9), 3, 12).refused, 0);
        assert_eq!(refused_at(first, first, 3, 12).source.raw_os_error(), Some(12));
    }
}
