//! Work requests: one verb each, made ready to be posted in a list.

use std::ffi::c_int;
use std::fmt;
use std::ops::BitOr;
use std::ptr;

use super::abi::*;

/// A piece of local memory: address, length, lkey.
pub type Sge = ibv_sge;

/// What is special about one work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrFlags(u32);

impl WrFlags {
    /// Nothing: no completion unless it fails.
    pub const NONE: WrFlags = WrFlags(0);
    /// Completes visibly. Its completion says the same of everything posted before it on the queue pair.
    pub const SIGNALED: WrFlags = WrFlags(IBV_SEND_SIGNALED);
    /// The data is copied when posting: local memory may change, and needs no registration. WRITE only, up to
    /// the inline size of the queue pair.
    pub const INLINE: WrFlags = WrFlags(IBV_SEND_INLINE);
    /// Starts only after all READs and atomics posted before have ended.
    pub const FENCE: WrFlags = WrFlags(IBV_SEND_FENCE);

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: WrFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for WrFlags {
    type Output = WrFlags;

    fn bitor(self, other: WrFlags) -> WrFlags {
        WrFlags(self.0 | other.0)
    }
}

/// One work request. Holds raw pointers to scatter entries: they are looked at when it is posted, and what
/// must hold then is said at [`super::QueuePair::post_send`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct SendWr(pub(super) ibv_send_wr);

// SAFETY: plain data. The pointers in it are followed only by `post_send`, which is unsafe and says when that
// is allowed.
unsafe impl Send for SendWr {}
// SAFETY: as above.
unsafe impl Sync for SendWr {}

impl SendWr {
    /// Copies the `sge_count` pieces at `sges` to `remote_addr`.
    pub fn write(
        id: u64,
        sges: *mut Sge,
        sge_count: usize,
        remote_addr: u64,
        rkey: u32,
        flags: WrFlags,
    ) -> SendWr {
        let rdma = ibv_send_wr_rdma { remote_addr, rkey };
        SendWr::new(IBV_WR_RDMA_WRITE, id, sges, sge_count, ibv_send_wr_wr::rdma(rdma), flags)
    }

    /// Copies from `remote_addr` into the `sge_count` pieces at `sges`.
    pub fn read(
        id: u64,
        sges: *mut Sge,
        sge_count: usize,
        remote_addr: u64,
        rkey: u32,
        flags: WrFlags,
    ) -> SendWr {
        assert!(!flags.contains(WrFlags::INLINE), "a READ has no data to copy when posted");
        let rdma = ibv_send_wr_rdma { remote_addr, rkey };
        SendWr::new(IBV_WR_RDMA_READ, id, sges, sge_count, ibv_send_wr_wr::rdma(rdma), flags)
    }

    /// Puts `swap` in place of the word at `remote_addr` if that is `expected`; brings the word seen into the
    /// 8 bytes of `sge`, in this machine's byte order.
    ///
    /// # Panics
    /// If `remote_addr` is not a multiple of 8: devices answer that in different ways, some only on the wire.
    pub fn compare_swap(
        id: u64,
        sge: *mut Sge,
        remote_addr: u64,
        rkey: u32,
        expected: u64,
        swap: u64,
        flags: WrFlags,
    ) -> SendWr {
        let atomic = ibv_send_wr_atomic { remote_addr, compare_add: expected, swap, rkey };
        SendWr::atomic(IBV_WR_ATOMIC_CMP_AND_SWP, id, sge, atomic, flags)
    }

    /// Adds `addend` to the word at `remote_addr`, wrapping; brings the word seen before into `sge` as
    /// [`SendWr::compare_swap`] does.
    ///
    /// # Panics
    /// If `remote_addr` is not a multiple of 8.
    pub fn fetch_add(
        id: u64,
        sge: *mut Sge,
        remote_addr: u64,
        rkey: u32,
        addend: u64,
        flags: WrFlags,
    ) -> SendWr {
        let atomic = ibv_send_wr_atomic { remote_addr, compare_add: addend, swap: 0, rkey };
        SendWr::atomic(IBV_WR_ATOMIC_FETCH_AND_ADD, id, sge, atomic, flags)
    }

    /// Replaces its pointer, which must have been made of an index, by one to that place behind `entries`: for lists that
    /// are built while their entries still move.
    pub fn point_into(&mut self, entries: *mut Sge) {
        self.0.sg_list = entries.wrapping_add(self.0.sg_list.addr());
    }

    /// The id its completion will carry.
    pub fn id(&self) -> u64 {
        self.0.wr_id
    }

    fn atomic(opcode: u32, id: u64, sge: *mut Sge, atomic: ibv_send_wr_atomic, flags: WrFlags) -> SendWr {
        assert!(atomic.remote_addr.is_multiple_of(8), "a remote word is aligned to 8 bytes");
        assert!(!flags.contains(WrFlags::INLINE), "an atomic has no data to copy when posted");
        SendWr::new(opcode, id, sge, 1, ibv_send_wr_wr { atomic }, flags)
    }

    fn new(
        opcode: u32,
        id: u64,
        sg_list: *mut Sge,
        sge_count: usize,
        wr: ibv_send_wr_wr,
        flags: WrFlags,
    ) -> SendWr {
        SendWr(ibv_send_wr {
            wr_id: id,
            next: ptr::null_mut(),
            sg_list,
            num_sge: c_int::try_from(sge_count).expect("devices take tens of scatter entries"),
            opcode,
            send_flags: flags.0,
            imm_data: 0,
            wr,
            qp_type: 0,
            bind_mw_or_tso: [0; 6],
        })
    }
}

impl ibv_send_wr_wr {
    /// The READ and WRITE arm with the rest zeroed, so that no byte handed to the provider is undefined.
    fn rdma(rdma: ibv_send_wr_rdma) -> ibv_send_wr_wr {
        let mut wr = ibv_send_wr_wr { atomic: ibv_send_wr_atomic::default() };
        wr.rdma = rdma;
        wr
    }
}

impl fmt::Debug for SendWr {
    /// Without the rkey: it is what protects the peer's memory, and logs travel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendWr")
            .field("id", &self.0.wr_id)
            .field("opcode", &self.0.opcode)
            .field("sge_count", &self.0.num_sge)
            .field("flags", &WrFlags(self.0.send_flags))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_combine() {
        let both = WrFlags::SIGNALED | WrFlags::INLINE;
        assert!(both.contains(WrFlags::INLINE));
        assert!(both.contains(WrFlags::SIGNALED));
        assert!(!both.contains(WrFlags::FENCE));
        assert!(both.contains(WrFlags::NONE));
    }

    #[test]
    #[should_panic(expected = "aligned to 8")]
    fn misaligned_compare_swap_is_refused_before_the_device_sees_it() {
        SendWr::compare_swap(1, ptr::null_mut(), 0x1004, 7, 0, 1, WrFlags::NONE);
    }

    #[test]
    #[should_panic(expected = "no data to copy")]
    fn inline_read_is_refused() {
        SendWr::read(1, ptr::null_mut(), 1, 0x1000, 7, WrFlags::INLINE);
    }
}
