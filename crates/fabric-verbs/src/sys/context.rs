//! An open device.

use std::ffi::{CStr, c_int};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use thiserror::Error;

use super::abi::*;
use super::library::{CallError, NoVerbs, Verbs};

/// An open device. Closed when the last thing made from it is gone.
pub struct Context {
    pub(super) verbs: &'static Verbs,
    pub(super) raw: NonNull<ibv_context>,
    name: String,
}

// SAFETY: libibverbs documents its functions as thread-safe; the struct is only read here.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Opens the device called `name`, as in `ibv_devices` (`mlx5_0`, `rxe0`).
    ///
    /// # Errors
    /// [`OpenError`]: no libibverbs, no such device, or it could not be opened.
    pub fn open(name: &str) -> Result<Arc<Context>, OpenError> {
        let verbs = Verbs::load()?;
        let list = verbs.devices()?;
        let Some(device) = list.iter().find(|device| verbs.name_of(*device) == name) else {
            let known = list.iter().map(|device| verbs.name_of(device)).collect();
            return Err(OpenError::NoSuchDevice { name: name.to_owned(), known });
        };
        // SAFETY: `device` is an entry of a list that is alive until the end of this function.
        let opened = unsafe { (verbs.open_device)(device) };
        let raw = NonNull::new(opened).ok_or_else(|| CallError::last("ibv_open_device"))?;
        let context = Context { verbs, raw, name: name.to_owned() };
        make_nonblocking(context.async_fd(), "ibv_open_device")?;
        Ok(Arc::new(context))
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the device can do.
    ///
    /// # Errors
    /// The device is gone or not answering.
    pub fn limits(&self) -> Result<DeviceLimits, CallError> {
        let mut attr = MaybeUninit::<ibv_device_attr>::zeroed();
        // SAFETY: the context is open and `attr` is a whole `ibv_device_attr`.
        let returned = unsafe { (self.verbs.query_device)(self.raw.as_ptr(), attr.as_mut_ptr()) };
        CallError::check("ibv_query_device", returned)?;
        // SAFETY: all fields are integers, and it was zeroed, so it was valid even before the call.
        let attr = unsafe { attr.assume_init() };
        let count = |limit: c_int| u32::try_from(limit).unwrap_or(0);
        Ok(DeviceLimits {
            max_mr_size: attr.max_mr_size,
            max_mr: count(attr.max_mr),
            max_qp: count(attr.max_qp),
            max_qp_wr: count(attr.max_qp_wr),
            max_cqe: count(attr.max_cqe),
            max_sge: count(attr.max_sge),
            max_sge_rd: count(attr.max_sge_rd),
            max_qp_rd_atomic: count(attr.max_qp_rd_atom),
            max_qp_init_rd_atomic: count(attr.max_qp_init_rd_atom),
            atomics: match attr.atomic_cap {
                0 => AtomicScope::None,
                1 => AtomicScope::Device,
                _ => AtomicScope::Machine,
            },
            ports: attr.phys_port_cnt,
        })
    }

    /// The state of port `port`, counted from 1.
    ///
    /// # Errors
    /// There is no such port, or the device is gone.
    pub fn port(&self, port: u8) -> Result<PortInfo, CallError> {
        let mut attr = ibv_port_attr::default();
        // SAFETY: the context is open and `attr` is larger than what the exported function fills in.
        let returned = unsafe { (self.verbs.query_port)(self.raw.as_ptr(), port, &mut attr) };
        CallError::check("ibv_query_port", returned)?;
        Ok(PortInfo {
            active: attr.state == 4,
            infiniband: attr.link_layer != IBV_LINK_LAYER_ETHERNET,
            active_mtu: attr.active_mtu,
            max_message_len: attr.max_msg_sz,
            gid_count: u32::try_from(attr.gid_tbl_len).unwrap_or(0),
            lid: attr.lid,
        })
    }

    /// Entry `index` of the GID table of `port`. An empty entry is all zeroes on some devices and an error
    /// on others.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn gid(&self, port: u8, index: u8) -> Result<[u8; 16], CallError> {
        let mut gid = ibv_gid::default();
        // SAFETY: the context is open and `gid` is a whole GID.
        let returned =
            unsafe { (self.verbs.query_gid)(self.raw.as_ptr(), port, c_int::from(index), &mut gid) };
        CallError::check("ibv_query_gid", returned)?;
        Ok(gid.raw)
    }

    /// The next event of the device that belongs to no completion, or nothing if there is none now. Wait for
    /// one by polling [`Context::async_fd`] for reading.
    ///
    /// # Errors
    /// The device is gone.
    pub fn take_async_event(&self) -> Result<Option<AsyncEvent>, CallError> {
        let mut event = MaybeUninit::<ibv_async_event>::zeroed();
        // SAFETY: the context is open and `event` is a whole event.
        let returned = unsafe { (self.verbs.get_async_event)(self.raw.as_ptr(), event.as_mut_ptr()) };
        if returned != 0 {
            return would_block("ibv_get_async_event");
        }
        // SAFETY: the call succeeded and filled it in.
        let mut event = unsafe { event.assume_init() };
        let kind = event.event_type;
        // SAFETY: `kind` decides which arm of the union is set, as the manual page has it. An object named by
        // an event cannot be destroyed before the event is acknowledged, so the pointers are alive.
        let subject = unsafe {
            match kind {
                IBV_EVENT_CQ_ERR => Subject::CompletionQueue { tag: (*event.element.cq).cq_context.addr() },
                IBV_EVENT_QP_FATAL..=IBV_EVENT_PATH_MIG_ERR | IBV_EVENT_QP_LAST_WQE_REACHED => {
                    Subject::QueuePair { number: (*event.element.qp).qp_num }
                }
                IBV_EVENT_PORT_ACTIVE..=IBV_EVENT_SM_CHANGE
                | IBV_EVENT_CLIENT_REREGISTER
                | IBV_EVENT_GID_CHANGE => Subject::Port { port: event.element.port_num },
                _ => Subject::Device,
            }
        };
        // SAFETY: any number is a valid argument (unknown ones are called unknown); the text is static.
        let what = unsafe { CStr::from_ptr((self.verbs.event_type_str)(kind)) };
        // SAFETY: the event came from `get_async_event` and is acknowledged once.
        unsafe { (self.verbs.ack_async_event)(&mut event) };
        Ok(Some(AsyncEvent { kind, what: what.to_string_lossy().into_owned(), subject }))
    }

    /// The descriptor that becomes readable when [`Context::take_async_event`] has something.
    pub fn async_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the context and is open as long as it is.
        unsafe { BorrowedFd::borrow_raw((*self.raw.as_ptr()).async_fd) }
    }
}

impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.async_fd()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: whatever was made from this context holds an `Arc` to it, so nothing is left.
        let returned = unsafe { (self.verbs.close_device)(self.raw.as_ptr()) };
        complain("ibv_close_device", returned);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A device could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// libibverbs is missing.
    #[error(transparent)]
    NoVerbs(#[from] NoVerbs),
    /// libibverbs does not know the device.
    #[error(
        "no RDMA device {name} (there is: {}); if /sys/class/infiniband lists it, its provider is missing: \
         install ibverbs-providers",
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    )]
    NoSuchDevice {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The device is there but does not open.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What a device can do, from `ibv_query_device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLimits {
    /// Bytes of the largest memory region.
    pub max_mr_size: u64,
    /// Memory regions.
    pub max_mr: u32,
    /// Queue pairs.
    pub max_qp: u32,
    /// Work requests in one queue.
    pub max_qp_wr: u32,
    /// Entries in one completion queue.
    pub max_cqe: u32,
    /// Scatter entries of one work request.
    pub max_sge: u32,
    /// Scatter entries of one READ.
    pub max_sge_rd: u32,
    /// READs and atomics that a queue pair answers at a time: the limit of `max_dest_rd_atomic`.
    pub max_qp_rd_atomic: u32,
    /// READs and atomics that a queue pair has under way at a time: the limit of `max_rd_atomic`.
    pub max_qp_init_rd_atomic: u32,
    /// Against whom remote atomics are atomic.
    pub atomics: AtomicScope,
    /// Physical ports.
    pub ports: u8,
}

/// Against whom remote atomics are atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicScope {
    /// There are none.
    None,
    /// Against other atomics through the same device.
    Device,
    /// Against everything, the CPU included.
    Machine,
}

/// One port of a device, from `ibv_query_port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Whether packets can pass.
    pub active: bool,
    /// InfiniBand, as opposed to Ethernet.
    pub infiniband: bool,
    /// The MTU in the encoding of the verbs: 1 is 256 bytes, 5 is 4096.
    pub active_mtu: u32,
    /// Bytes of the longest message.
    pub max_message_len: u32,
    /// Entries in the GID table, empty ones included.
    pub gid_count: u32,
    /// The InfiniBand address within the subnet; 0 on Ethernet.
    pub lid: u16,
}

impl PortInfo {
    /// Bytes of the active MTU.
    pub fn mtu_bytes(&self) -> u32 {
        128 << self.active_mtu.min(5)
    }
}

/// Something happened to a device that belongs to no completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncEvent {
    /// `enum ibv_event_type`.
    pub kind: u32,
    /// The same in words.
    pub what: String,
    /// What it happened to.
    pub subject: Subject,
}

/// What an [`AsyncEvent`] happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A completion queue, by the tag it was made with.
    CompletionQueue {
        /// The tag.
        tag: usize,
    },
    /// A queue pair, by its number.
    QueuePair {
        /// The number.
        number: u32,
    },
    /// A port.
    Port {
        /// Counted from 1.
        port: i32,
    },
    /// The device as a whole, or something Farrow never makes.
    Device,
}

pub(super) fn make_nonblocking(fd: BorrowedFd<'_>, call: &'static str) -> Result<(), CallError> {
    let flags = rustix::fs::fcntl_getfl(fd).map_err(|e| CallError::new(call, e.into()))?;
    rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)
        .map_err(|e| CallError::new(call, e.into()))
}

/// After a call that failed with `errno` set: nothing there yet, or a real failure.
pub(super) fn would_block<T>(call: &'static str) -> Result<Option<T>, CallError> {
    let error = CallError::last(call);
    if error.source.kind() == std::io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
}

/// Destroying failed: there is nobody to tell and nothing to try again, but it must not go unseen, since the
/// device keeps the object, and memory pinned, until the process ends.
pub(super) fn complain(call: &'static str, returned: c_int) {
    if let Err(error) = CallError::check(call, returned) {
        tracing::warn!(%error, "an RDMA object could not be released");
    }
}
