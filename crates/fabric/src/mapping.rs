//! Memory that other processes and devices change: word loads and stores, never a reference to its bytes.

use crate::{Pinned, wide};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// Words from which on wide steps are worth their while.
const LEAST_WIDE: usize = 32;

/// A mapping of memory that others may change at any time. Thread-safe: all access is atomic.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

/// Why memory could not be mapped.
#[derive(Debug, thiserror::Error)]
#[error("cannot map {len} bytes of memory: {source}")]
pub struct MappingError {
    /// How much was asked for.
    pub len: usize,
    /// The system's reason.
    #[source]
    pub source: std::io::Error,
}

// SAFETY: the pointer is to a mapping that lives as long as `self`; every access through it is an atomic operation.
unsafe impl Send for Mapping {}
// SAFETY: as above: shared access is atomic.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, shared, readable and writable.
    ///
    /// # Errors
    /// The system's. A file that is later cut shorter makes access die with SIGBUS: seal memory files against shrinking.
    pub fn shared(file: impl AsFd, len: usize) -> Result<Mapping, MappingError> {
        let error = |source: Errno| MappingError { len, source: source.into() };
        if len == 0 {
            return Err(error(Errno::INVAL));
        }
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        };
        let base = NonNull::new(base.map_err(error)?.cast()).expect("a mapping is not at address zero");
        Ok(Mapping { base, len })
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: empty mappings are refused.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Brings the pages of `len` bytes at `at` into memory, and into this process, as if each had been written. What they hold stays.
    /// Both are multiples of the page's size, or `len` reaches to the end.
    ///
    /// # Errors
    /// There is no memory for them; some may be there nevertheless. [`Errno::INVAL`] by a kernel before 5.14.
    pub fn populate(&self, at: usize, len: usize) -> Result<(), Errno> {
        self.check(at, len);
        // SAFETY: the range is in our mapping (checked); the advice changes no byte of it.
        unsafe { madvise(self.base.as_ptr().add(at).cast(), len, Advice::LinuxPopulateWrite) }
    }

    /// The first byte, for registering the mapping with a device. Not for access.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    fn at<T>(&self, at: usize) -> *const T {
        assert!(
            at.checked_add(size_of::<T>()).is_some_and(|end| end <= self.len),
            "offset {at} is outside of the mapping"
        );
        assert!(at.is_multiple_of(size_of::<T>()), "offset {at} is not aligned");
        // SAFETY: the offset was checked to be within the mapping.
        unsafe { self.base.as_ptr().add(at).cast_const().cast() }
    }

    /// The aligned word at `at`.
    ///
    /// # Panics
    /// This and the methods below panic on an offset outside of the mapping or not aligned: callers check.
    pub fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: in bounds and aligned (checked; the base is page-aligned); the mapping lives as long as the reference; all
        // access to it, here and in other processes, is atomic at this or a smaller size.
        unsafe { &*self.at::<AtomicU64>(at) }
    }

    /// The aligned half word at `at`.
    pub fn half(&self, at: usize) -> &AtomicU32 {
        // SAFETY: as for `word`.
        unsafe { &*self.at::<AtomicU32>(at) }
    }

    fn byte(&self, at: usize) -> &AtomicU8 {
        // SAFETY: as for `word`.
        unsafe { &*self.at::<AtomicU8>(at) }
    }

    /// Copies bytes out. May tear between aligned words, never within one that lies in the range as a whole.
    pub fn copy_out(&self, at: usize, out: &mut [u8]) {
        // SAFETY: the slice is valid for writes of its length, and exclusively ours.
        unsafe { self.load(at, out.as_mut_ptr(), out.len()) }
    }

    /// Copies bytes in. Others may see them torn between aligned words.
    pub fn copy_in(&self, at: usize, bytes: &[u8]) {
        // SAFETY: the slice is valid for reads of its length.
        unsafe { self.store(at, bytes.as_ptr(), bytes.len()) }
    }

    /// As [`Mapping::copy_out`], into a buffer that other links of this thread may have pinned as well.
    pub fn copy_out_pinned(&self, at: usize, to: &Pinned) {
        // SAFETY: a pinned slice is valid memory for as long as it is pinned; nobody has a reference to its bytes
        // meanwhile, and its thread is this one (it is not `Send`).
        unsafe { self.load(at, to.address(), to.len()) }
    }

    /// As [`Mapping::copy_in`], from a buffer that other links of this thread may have pinned as well.
    pub fn copy_in_pinned(&self, at: usize, from: &Pinned) {
        // SAFETY: as in `copy_out_pinned`.
        unsafe { self.store(at, from.address(), from.len()) }
    }

    /// # Safety
    /// `out` must be valid for writes of `len` bytes.
    unsafe fn load(&self, at: usize, out: *mut u8, len: usize) {
        self.check(at, len);
        let head = (at.wrapping_neg() % 8).min(len);
        let words = (len - head) / 8;
        let tail = head + 8 * words;
        for i in (0..head).chain(tail..len) {
            let value = self.byte(at + i).load(Ordering::Relaxed);
            // SAFETY: `i < len`.
            unsafe { out.add(i).write(value) };
        }
        let wide = wide_part(at + head, words);
        if !wide.is_empty() {
            let start = head + 8 * wide.start;
            // SAFETY: the part lies in both ranges, its start is aligned, and there are wide steps (`wide_part`; the base is page-aligned).
            unsafe {
                let from = self.base.as_ptr().add(at + start).cast_const();
                wide::load(from, out.add(start), 8 * wide.len() / wide::STEP);
            }
        }
        // SAFETY: `at + head` is aligned unless there are no words, and `check` has shown the range to be in the mapping.
        let from = unsafe { self.base.as_ptr().add(at + head).cast_const().cast::<AtomicU64>() };
        let one = |i: usize| {
            // SAFETY: the i-th aligned word of the checked range; atomic at this size everywhere.
            let value = unsafe { (*from.add(i)).load(Ordering::Relaxed) };
            // SAFETY: `head + 8 * i + 8 <= len`.
            unsafe { out.add(head + 8 * i).cast::<u64>().write_unaligned(value) };
        };
        (0..wide.start).for_each(one);
        (wide.end..words).for_each(one);
        // What is read next must not be older than what was read here.
        fence(Ordering::Acquire);
    }

    /// # Safety
    /// `bytes` must be valid for reads of `len` bytes.
    unsafe fn store(&self, at: usize, bytes: *const u8, len: usize) {
        self.check(at, len);
        // What was written before must not become visible after what is written here.
        fence(Ordering::Release);
        let head = (at.wrapping_neg() % 8).min(len);
        let words = (len - head) / 8;
        let tail = head + 8 * words;
        for i in (0..head).chain(tail..len) {
            // SAFETY: `i < len`.
            let value = unsafe { bytes.add(i).read() };
            self.byte(at + i).store(value, Ordering::Relaxed);
        }
        let wide = wide_part(at + head, words);
        if !wide.is_empty() {
            let start = head + 8 * wide.start;
            // SAFETY: as in `load`.
            unsafe {
                let to = self.base.as_ptr().add(at + start);
                wide::store(to, bytes.add(start), 8 * wide.len() / wide::STEP);
            }
        }
        // SAFETY: `at + head` is aligned unless there are no words, and `check` has shown the range to be in the mapping.
        let to = unsafe { self.base.as_ptr().add(at + head).cast_const().cast::<AtomicU64>() };
        let one = |i: usize| {
            // SAFETY: `head + 8 * i + 8 <= len`.
            let value = unsafe { bytes.add(head + 8 * i).cast::<u64>().read_unaligned() };
            // SAFETY: the i-th aligned word of the checked range; atomic at this size everywhere.
            unsafe { (*to.add(i)).store(value, Ordering::Relaxed) };
        };
        (0..wide.start).for_each(one);
        (wide.end..words).for_each(one);
    }

    fn check(&self, at: usize, len: usize) {
        assert!(
            at.checked_add(len).is_some_and(|end| end <= self.len),
            "{len} bytes at {at} are outside of the mapping"
        );
    }
}

/// Which of the `words` words from the aligned offset `at` on are copied in wide steps: as many as there are whole ones of.
fn wide_part(at: usize, words: usize) -> Range<usize> {
    let start = at.wrapping_neg() % wide::ALIGNMENT / 8;
    if words < LEAST_WIDE || !wide::is_there() {
        return 0..0;
    }
    start..start + (words - start) / (wide::STEP / 8) * (wide::STEP / 8)
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        if let Err(error) = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) } {
            panic!("unmapping our own memory failed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    fn mapping(len: usize) -> Mapping {
        let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, len as u64).unwrap();
        Mapping::shared(&file, len).unwrap()
    }

    #[test]
    fn bytes_go_in_and_come_out_at_any_alignment() {
        let m = mapping(4096);
        for at in 0..20 {
            for len in (0..40).chain(240..420) {
                let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + at + 1) as u8).collect();
                m.copy_in(at, &bytes);
                let mut out = vec![0; len];
                m.copy_out(at, &mut out);
                assert_eq!(out, bytes, "{len} bytes at {at}");
            }
        }
    }

    #[test]
    fn words_are_never_torn_however_many_are_copied() {
        const WORDS: usize = 1000;
        let m = mapping(8 * WORDS + 8);
        let of = |value: u8| vec![value; 8 * WORDS];
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 0..3000u32 {
                    m.copy_in(8, &of(value as u8));
                }
                is_over.store(true, Ordering::Relaxed);
            });
            let mut out = of(0);
            while !is_over.load(Ordering::Relaxed) {
                m.copy_out(8, &mut out);
                let is_whole = |word: &[u8]| word.iter().all(|byte| *byte == word[0]);
                assert!(out.chunks(8).all(is_whole));
            }
        });
    }

    #[test]
    fn two_mappings_of_one_file_are_one_memory() {
        let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 4096).unwrap();
        let (a, b) = (Mapping::shared(&file, 4096).unwrap(), Mapping::shared(&file, 4096).unwrap());
        a.word(8).store(7, Ordering::Release);
        assert_eq!(b.word(8).fetch_add(1, Ordering::SeqCst), 7);
        assert_eq!(a.word(8).load(Ordering::Acquire), 8);
    }

    #[test]
    fn pages_come_with_what_they_hold() {
        let m = mapping(3 * 4096);
        m.copy_in(4096, b"kept");
        m.populate(4096, 2 * 4096).unwrap();
        let mut bytes = [0; 4];
        m.copy_out(4096, &mut bytes);
        assert_eq!(&bytes, b"kept");
        assert_eq!(m.populate(8, 4096), Err(Errno::INVAL));
    }

    #[test]
    #[should_panic(expected = "outside of the mapping")]
    fn the_end_is_the_end() {
        mapping(4096).copy_out(4090, &mut [0; 8]);
    }
}
