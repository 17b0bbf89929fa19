//! Memory regions that keep their memory alive, so that registering them is safe.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farrow_fabric::{Mapping, Registrar, Registration};

use super::library::CallError;
use super::memory::{Access, MemoryRegion, ProtectionDomain};
use crate::memlock;

/// A piece of a mapping that peers may reach. The mapping stays as long as the device knows it.
pub struct MappedRegion {
    // Before the mapping: unregistered before it is unmapped.
    region: MemoryRegion,
    _mapping: Arc<Mapping>,
}

impl MappedRegion {
    /// Registers the bytes `range` of `mapping`.
    ///
    /// # Errors
    /// As [`MemoryRegion::register`].
    ///
    /// # Panics
    /// If the range is empty or not within the mapping.
    pub fn register(
        domain: &Arc<ProtectionDomain>,
        mapping: &Arc<Mapping>,
        range: Range<usize>,
        access: Access,
    ) -> Result<MappedRegion, CallError> {
        assert!(range.start < range.end, "an empty range cannot be registered");
        assert!(range.end <= mapping.len(), "the range is within the mapping");
        let start = mapping.base().wrapping_add(range.start);
        // SAFETY: the range was just checked to be within the mapping, which the new region keeps alive and drops
        // after itself. `Mapping` never makes a reference to its bytes; all its access is atomic.
        let region = unsafe { MemoryRegion::register(domain, start, range.len(), access) }?;
        Ok(MappedRegion { region, _mapping: Arc::clone(mapping) })
    }

    /// The registration: address and keys.
    pub fn region(&self) -> &MemoryRegion {
        &self.region
    }
}

impl fmt::Debug for MappedRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.region.fmt(f)
    }
}

/// Words that the own device writes: where answers arrive.
pub struct WordRegion {
    // Before the words: unregistered before they are freed.
    region: MemoryRegion,
    words: Box<[AtomicU64]>,
}

impl WordRegion {
    /// `count` words, all 0.
    ///
    /// # Errors
    /// As [`MemoryRegion::register`].
    pub fn new(domain: &Arc<ProtectionDomain>, count: usize) -> Result<WordRegion, CallError> {
        let words: Box<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let start = words.as_ptr().cast_mut().cast();
        // SAFETY: the box lives as long as the region, is dropped after it and never moves its content; it is seen as
        // atomics only.
        let region =
            unsafe { MemoryRegion::register(domain, start, size_of_val(&*words), Access::LOCAL_WRITE) }?;
        Ok(WordRegion { region, words })
    }

    /// The word at `index`, in this machine's byte order.
    pub fn load(&self, index: usize) -> u64 {
        self.words[index].load(Ordering::Acquire)
    }

    /// Puts a word that the device is to fetch.
    pub fn store(&self, index: usize, word: u64) {
        self.words[index].store(word, Ordering::Release);
    }

    /// The address of the word at `index`, for a scatter entry.
    pub fn address(&self, index: usize) -> u64 {
        self.words[index].as_ptr().expose_provenance() as u64
    }

    /// The key for scatter entries.
    pub fn lkey(&self) -> u32 {
        self.region.lkey()
    }
}

impl fmt::Debug for WordRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.region.fmt(f)
    }
}

/// Registers the buffers of a thread with one device.
#[derive(Clone)]
pub struct DomainRegistrar(Arc<ProtectionDomain>);

impl DomainRegistrar {
    /// A registrar for verbs of queue pairs of `domain`.
    pub fn new(domain: Arc<ProtectionDomain>) -> DomainRegistrar {
        DomainRegistrar(domain)
    }
}

impl Registrar for DomainRegistrar {
    unsafe fn register(&self, base: *mut u8, len: usize) -> Result<Box<dyn Registration>, String> {
        // SAFETY: the memory stays mapped until the registration is dropped: the caller's promise. Nobody has a
        // reference to bytes that a posted verb touches: `Buffer` checks it.
        let try_it = || unsafe { MemoryRegion::register(&self.0, base, len, Access::LOCAL_WRITE) };
        let region = try_it().or_else(|first| {
            if first.source.kind() != std::io::ErrorKind::OutOfMemory {
                return Err(first.to_string());
            }
            // The limit on locked memory, in all likelihood: raise it as far as we may, or say how it is raised.
            memlock::check(len as u64).map_err(|too_low| format!("{first}: {too_low}"))?;
            try_it().map_err(|second| memlock::explain(&second))
        })?;
        Ok(Box::new(region))
    }
}

impl Registration for MemoryRegion {
    fn local_key(&self) -> u32 {
        self.lkey()
    }
}
