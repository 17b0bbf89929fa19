//! Memory that a device may reach.

use std::ffi::c_int;
use std::fmt;
use std::ops::BitOr;
use std::ptr::NonNull;
use std::sync::Arc;

use super::abi::*;
use super::context::{Context, complain};
use super::library::CallError;

/// Memory regions and queue pairs of one domain may be used together, and with no others.
pub struct ProtectionDomain {
    pub(super) raw: NonNull<ibv_pd>,
    pub(super) context: Arc<Context>,
}

// SAFETY: libibverbs documents its functions as thread-safe; the struct is never written here.
unsafe impl Send for ProtectionDomain {}
// SAFETY: as above.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    /// A new domain on `context`.
    ///
    /// # Errors
    /// The device has no more of them.
    pub fn allocate(context: &Arc<Context>) -> Result<Arc<ProtectionDomain>, CallError> {
        // SAFETY: the context is open.
        let raw = unsafe { (context.verbs.alloc_pd)(context.raw.as_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| CallError::last("ibv_alloc_pd"))?;
        Ok(Arc::new(ProtectionDomain { raw, context: Arc::clone(context) }))
    }

    /// The device.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: regions and queue pairs of this domain hold an `Arc` to it, so none is left.
        let returned = unsafe { (self.context.verbs.dealloc_pd)(self.raw.as_ptr()) };
        complain("ibv_dealloc_pd", returned);
    }
}

impl fmt::Debug for ProtectionDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProtectionDomain").field(&self.context).finish()
    }
}

/// What a device may do with a memory region. READ by this machine's own queue pairs is always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u32);

impl Access {
    /// The source of WRITEs only.
    pub const LOCAL_READ: Access = Access(0);
    /// The target of this machine's READs and atomics; needed by the two remote writing rights as well.
    pub const LOCAL_WRITE: Access = Access(IBV_ACCESS_LOCAL_WRITE);
    /// The target of a peer's WRITEs.
    pub const REMOTE_WRITE: Access = Access(IBV_ACCESS_REMOTE_WRITE);
    /// The source of a peer's READs.
    pub const REMOTE_READ: Access = Access(IBV_ACCESS_REMOTE_READ);
    /// The target of a peer's atomics.
    pub const REMOTE_ATOMIC: Access = Access(IBV_ACCESS_REMOTE_ATOMIC);
    /// All of it: a memory node's region.
    pub const FULL: Access = Access(
        IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC,
    );

    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for Access {
    type Output = Access;

    fn bitor(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }
}

/// A range of this process's memory, pinned and known to the device. Unpinned on drop.
pub struct MemoryRegion {
    raw: NonNull<ibv_mr>,
    domain: Arc<ProtectionDomain>,
}

// SAFETY: libibverbs documents its functions as thread-safe; the struct is only read here.
unsafe impl Send for MemoryRegion {}
// SAFETY: as above.
unsafe impl Sync for MemoryRegion {}

impl MemoryRegion {
    /// Registers `len` bytes at `start`. Pins every page of it, so it takes time in proportion to `len`.
    ///
    /// # Errors
    /// Most often the limit on locked memory; see [`crate::memlock`].
    ///
    /// # Safety
    /// The range must be mapped, and stay mapped, until the region is dropped. As long as `access` and an
    /// rkey that is out in the world allow it, its bytes change at any time without this process doing
    /// anything: no reference to them may exist, only raw pointers and atomics.
    pub unsafe fn register(
        domain: &Arc<ProtectionDomain>,
        start: *mut u8,
        len: usize,
        access: Access,
    ) -> Result<MemoryRegion, CallError> {
        assert!(len > 0, "a region of no bytes cannot be registered");
        let flags = c_int::try_from(access.bits()).expect("access flags are four low bits");
        // SAFETY: the domain is alive; the range is the caller's promise.
        let raw = unsafe { (domain.context.verbs.reg_mr)(domain.raw.as_ptr(), start.cast(), len, flags) };
        let raw = NonNull::new(raw).ok_or_else(|| CallError::last("ibv_reg_mr"))?;
        Ok(MemoryRegion { raw, domain: Arc::clone(domain) })
    }

    /// The key of this region in local scatter entries.
    pub fn lkey(&self) -> u32 {
        // SAFETY: the region is alive, and the library does not change the field after registration.
        unsafe { (*self.raw.as_ptr()).lkey }
    }

    /// The key that lets a peer reach this region. Whoever has it can use every right of the region.
    pub fn rkey(&self) -> u32 {
        // SAFETY: as in `lkey`.
        unsafe { (*self.raw.as_ptr()).rkey }
    }

    /// The first byte: the address a peer uses, too.
    pub fn start(&self) -> *mut u8 {
        // SAFETY: as in `lkey`.
        unsafe { (*self.raw.as_ptr()).addr.cast() }
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "an empty region cannot be registered")]
    pub fn len(&self) -> usize {
        // SAFETY: as in `lkey`.
        unsafe { (*self.raw.as_ptr()).length }
    }

    /// The domain the region belongs to.
    pub fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.domain
    }
}

impl Drop for MemoryRegion {
    fn drop(&mut self) {
        // SAFETY: the region is alive and given back once. The device touches it no more after that; verbs
        // still under way end in errors.
        let returned = unsafe { (self.domain.context.verbs.dereg_mr)(self.raw.as_ptr()) };
        complain("ibv_dereg_mr", returned);
    }
}

impl fmt::Debug for MemoryRegion {
    /// Without the keys: they are what protects the memory, and logs travel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRegion")
            .field("start", &self.start())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
