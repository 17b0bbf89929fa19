//! Registered local memory: pools of buffers that a device may read and write.
//!
//! A buffer is *pinned* while a posted verb may touch it. While it is pinned nobody gets a reference to its bytes, and
//! while somebody has one it cannot be pinned: both are checked, as in a `RefCell`.

use rustix::mm::{MapFlags, ProtFlags};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

/// Makes memory known to a device.
pub trait Registrar {
    /// Registers `len` bytes at `base` for local access by the device.
    ///
    /// # Safety
    /// The memory must stay mapped until the registration is dropped.
    ///
    /// # Errors
    /// A sentence for people: the device's reason, and what to do about it.
    unsafe fn register(&self, base: *mut u8, len: usize) -> Result<Box<dyn Registration>, String>;
}

/// Memory that a device knows; dropping it makes the device forget.
pub trait Registration {
    /// The local key that goes into work requests.
    fn local_key(&self) -> u32;
}

/// Why no buffer could be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBuffers {
    /// The pool has reached its limit; operations in flight hold the rest.
    #[error(
        "{asked} bytes of registered memory asked for, but {used} of {limit} are in use: fewer operations in flight, or a larger pool"
    )]
    Limit {
        /// Bytes asked for.
        asked: usize,
        /// Bytes in use.
        used: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The system or the device refused.
    #[error("cannot register {asked} bytes of memory: {why}")]
    Refused {
        /// Bytes asked for.
        asked: usize,
        /// The reason, and what to do.
        why: String,
    },
}

/// The registered memory of one thread. Cheap to clone.
#[derive(Clone)]
pub struct Buffers(Rc<Pool>);

struct Pool {
    registrar: Option<Rc<dyn Registrar>>,
    limit: usize,
    mapped: Cell<usize>,
    /// The arena that small buffers are cut from, and how much of it is cut.
    current: RefCell<Option<(Rc<Arena>, usize)>>,
    /// Free chunks by the logarithm of their size.
    free: RefCell<[Vec<Rc<Chunk>>; CLASSES]>,
}

const SMALLEST: usize = 64;
const CLASSES: usize = 40;
const ARENA_LEN: usize = 1 << 20;

struct Arena {
    // Dropped first: the device forgets the memory before it is unmapped or freed.
    registration: Option<Box<dyn Registration>>,
    memory: ArenaMemory,
}

enum ArenaMemory {
    Mapped(NonNull<u8>, usize),
    Given(Box<[Cell<u8>]>),
}

struct Chunk {
    arena: Rc<Arena>,
    base: NonNull<u8>,
    capacity: usize,
    pinned: Cell<u32>,
    borrowed: Cell<bool>,
}

/// A piece of registered memory. Clones are the same memory; it returns to its pool when the last one is gone.
pub struct Buffer {
    chunk: Rc<Chunk>,
    len: usize,
    pool: Option<Rc<Pool>>,
}

/// A range of a buffer.
#[derive(Clone)]
pub struct Slice {
    buffer: Buffer,
    start: usize,
    len: usize,
}

/// A slice that a posted verb may touch; unpinned when dropped.
#[derive(Debug)]
pub struct Pinned(Slice);

impl Buffers {
    /// A pool that maps at most `limit` bytes, and registers them with `registrar` where there is a device.
    pub fn new(registrar: Option<Rc<dyn Registrar>>, limit: usize) -> Buffers {
        Buffers(Rc::new(Pool {
            registrar,
            limit,
            mapped: Cell::new(0),
            current: RefCell::new(None),
            free: RefCell::new(std::array::from_fn(|_| Vec::new())),
        }))
    }

    /// A buffer of `len` bytes, aligned to 64; its content is arbitrary.
    ///
    /// # Errors
    /// [`OutOfBuffers`]; nothing has changed then.
    pub fn take(&self, len: usize) -> Result<Buffer, OutOfBuffers> {
        let capacity = len.max(SMALLEST).next_power_of_two();
        let class = capacity.ilog2() as usize;
        assert!(class < CLASSES, "a buffer of {len} bytes");
        let chunk = match self.0.free.borrow_mut()[class].pop() {
            Some(chunk) => chunk,
            None => self.0.cut(capacity)?,
        };
        Ok(Buffer { chunk, len, pool: Some(self.0.clone()) })
    }

    /// Registers memory of the application for zero-copy operations; [`Buffer::into_memory`] gives it back.
    ///
    /// # Errors
    /// [`OutOfBuffers::Refused`] with the device's reason. The memory is dropped then.
    pub fn register(&self, memory: Vec<u8>) -> Result<Buffer, OutOfBuffers> {
        let len = memory.len();
        // A vector of bytes and one of cells of bytes have the same layout, but the safe way is a copy-free iterator.
        let cells: Box<[Cell<u8>]> = memory.into_iter().map(Cell::new).collect();
        let arena = Arena::new(ArenaMemory::Given(cells), self.0.registrar.as_deref())?;
        let base = arena.memory.base();
        let chunk = Chunk {
            arena: Rc::new(arena),
            base,
            capacity: len,
            pinned: Cell::new(0),
            borrowed: Cell::new(false),
        };
        Ok(Buffer { chunk: Rc::new(chunk), len, pool: None })
    }

    /// Bytes that the pool has mapped.
    pub fn mapped(&self) -> usize {
        self.0.mapped.get()
    }
}

impl Pool {
    fn cut(&self, capacity: usize) -> Result<Rc<Chunk>, OutOfBuffers> {
        let mut current = self.current.borrow_mut();
        if capacity > ARENA_LEN / 4 {
            let arena = self.map(capacity)?;
            return Ok(Chunk::at(arena, 0, capacity));
        }
        if current.as_ref().is_none_or(|(_, used)| used + capacity > ARENA_LEN) {
            *current = Some((self.map(ARENA_LEN)?, 0));
        }
        let (arena, used) = current.as_mut().expect("just made");
        let chunk = Chunk::at(arena.clone(), *used, capacity);
        *used += capacity;
        Ok(chunk)
    }

    fn map(&self, len: usize) -> Result<Rc<Arena>, OutOfBuffers> {
        let used = self.mapped.get();
        if used + len > self.limit {
            return Err(OutOfBuffers::Limit { asked: len, used, limit: self.limit });
        }
        let refused = |e: rustix::io::Errno| OutOfBuffers::Refused {
            asked: len,
            why: std::io::Error::from(e).to_string(),
        };
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let base = NonNull::new(base.map_err(refused)?.cast()).expect("a mapping is not at address zero");
        let arena = Arena::new(ArenaMemory::Mapped(base, len), self.registrar.as_deref())?;
        self.mapped.set(used + len);
        Ok(Rc::new(arena))
    }
}

impl Arena {
    fn new(memory: ArenaMemory, registrar: Option<&dyn Registrar>) -> Result<Arena, OutOfBuffers> {
        let mut arena = Arena { registration: None, memory };
        let (base, len) = (arena.memory.base(), arena.memory.len());
        if let Some(registrar) = registrar.filter(|_| len > 0) {
            // SAFETY: the arena owns the memory and drops the registration before it.
            let registration = unsafe { registrar.register(base.as_ptr(), len) };
            arena.registration = Some(registration.map_err(|why| OutOfBuffers::Refused { asked: len, why })?);
        }
        Ok(arena)
    }
}

impl ArenaMemory {
    fn base(&self) -> NonNull<u8> {
        match self {
            ArenaMemory::Mapped(base, _) => *base,
            ArenaMemory::Given(cells) => NonNull::from(&cells[..]).cast(),
        }
    }

    fn len(&self) -> usize {
        match self {
            ArenaMemory::Mapped(_, len) => *len,
            ArenaMemory::Given(cells) => cells.len(),
        }
    }
}

impl Drop for ArenaMemory {
    fn drop(&mut self) {
        if let ArenaMemory::Mapped(base, len) = *self {
            // SAFETY: mapped by `Pool::map`, and no chunk of it is left: each holds its arena.
            if let Err(error) = unsafe { rustix::mm::munmap(base.as_ptr().cast(), len) } {
                panic!("unmapping our own memory failed: {error}");
            }
        }
    }
}

impl Chunk {
    fn at(arena: Rc<Arena>, offset: usize, capacity: usize) -> Rc<Chunk> {
        assert!(offset + capacity <= arena.memory.len(), "a chunk lies within its arena");
        // SAFETY: within the arena, as just asserted.
        let base = unsafe { arena.memory.base().add(offset) };
        Rc::new(Chunk { arena, base, capacity, pinned: Cell::new(0), borrowed: Cell::new(false) })
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Buffer { chunk: self.chunk.clone(), len: self.len, pool: self.pool.clone() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool
            && Rc::strong_count(&self.chunk) == 1
        {
            assert!(self.chunk.pinned.get() == 0, "a pinned slice holds its buffer");
            let class = self.chunk.capacity.ilog2() as usize;
            pool.free.borrow_mut()[class].push(self.chunk.clone());
        }
    }
}

struct Borrow<'a>(&'a Cell<bool>);

impl Drop for Borrow<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Buffer {
    /// Bytes asked for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The range from `start`, `len` bytes long.
    ///
    /// # Panics
    /// If it reaches past the end.
    pub fn slice(&self, start: usize, len: usize) -> Slice {
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.len),
            "{len} bytes at {start} of a buffer of {}",
            self.len
        );
        Slice { buffer: self.clone(), start, len }
    }

    /// All of it.
    pub fn whole(&self) -> Slice {
        self.slice(0, self.len)
    }

    /// Whether a posted verb may touch it still.
    pub fn is_pinned(&self) -> bool {
        self.chunk.pinned.get() > 0
    }

    fn borrow(&self) -> Borrow<'_> {
        assert!(
            !self.is_pinned(),
            "the bytes of a buffer are out of reach while a posted verb may touch them"
        );
        assert!(!self.chunk.borrowed.replace(true), "a buffer's bytes are borrowed once at a time");
        Borrow(&self.chunk.borrowed)
    }

    /// Looks at the bytes.
    ///
    /// # Panics
    /// If the buffer is pinned, or its bytes are borrowed already.
    pub fn with<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        let _borrow = self.borrow();
        // SAFETY: the memory is ours and initialised (mapped zeroed, or given), lives as long as the chunk, and while
        // `_borrow` lives no verb is in flight over it and no other reference to it exists (both checked).
        look(unsafe { std::slice::from_raw_parts(self.chunk.base.as_ptr(), self.len) })
    }

    /// Changes the bytes.
    ///
    /// # Panics
    /// As [`Buffer::with`].
    pub fn with_mut<T>(&self, change: impl FnOnce(&mut [u8]) -> T) -> T {
        let _borrow = self.borrow();
        // SAFETY: as in `with`; the borrow is exclusive.
        change(unsafe { std::slice::from_raw_parts_mut(self.chunk.base.as_ptr(), self.len) })
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with(<[u8]>::to_vec)
    }

    /// Gives registered memory of the application back; pooled buffers and shared ones are copied.
    ///
    /// # Panics
    /// If the buffer is pinned.
    pub fn into_memory(self) -> Vec<u8> {
        self.to_vec()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes{})", self.len, if self.is_pinned() { ", pinned" } else { "" })
    }
}

impl Slice {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Looks at the bytes; panics as [`Buffer::with`] does.
    pub fn with<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        self.buffer.with(|all| look(&all[self.start..self.start + self.len]))
    }

    /// Changes the bytes; panics as [`Buffer::with`] does.
    pub fn with_mut<T>(&self, change: impl FnOnce(&mut [u8]) -> T) -> T {
        self.buffer.with_mut(|all| change(&mut all[self.start..self.start + self.len]))
    }

    /// A part of it: `len` bytes from `start`.
    ///
    /// # Panics
    /// If it reaches past the end.
    pub fn part(&self, start: usize, len: usize) -> Slice {
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.len),
            "{len} bytes at {start} of a slice of {}",
            self.len
        );
        Slice { buffer: self.buffer.clone(), start: self.start + start, len }
    }

    /// Keeps the bytes for a verb that is about to be posted. For providers.
    ///
    /// # Panics
    /// If somebody holds a reference to the bytes.
    pub fn pin(self) -> Pinned {
        let chunk = &self.buffer.chunk;
        assert!(!chunk.borrowed.get(), "a buffer whose bytes are borrowed cannot be posted");
        chunk.pinned.set(chunk.pinned.get() + 1);
        Pinned(self)
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}..{}]", self.start, self.start + self.len)
    }
}

impl Pinned {
    /// The first byte, for a work request. Valid until `self` is dropped.
    pub fn address(&self) -> *mut u8 {
        // SAFETY: `slice` has checked the range to be within the chunk.
        unsafe { self.0.buffer.chunk.base.as_ptr().add(self.0.start) }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The device's key for it; 0 without a device.
    pub fn local_key(&self) -> u32 {
        self.0.buffer.chunk.arena.registration.as_ref().map_or(0, |r| r.local_key())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let pinned = &self.0.buffer.chunk.pinned;
        pinned.set(pinned.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again() {
        let pool = Buffers::new(None, 1 << 20);
        for _ in 0..100_000 {
            let b = pool.take(1000).unwrap();
            b.with_mut(|bytes| bytes.fill(1));
        }
        assert_eq!(pool.mapped(), 1 << 20);
    }

    #[test]
    fn the_limit_is_an_error_and_passes() {
        let pool = Buffers::new(None, 2 << 20);
        let held: Vec<_> = (0..2).map(|_| pool.take(1 << 20).unwrap()).collect();
        assert!(matches!(pool.take(1), Err(OutOfBuffers::Limit { .. })));
        drop(held);
        assert!(pool.take(1 << 20).is_ok());
    }

    #[test]
    fn a_pinned_buffer_stays_out_of_its_pool() {
        let pool = Buffers::new(None, 1 << 20);
        let buffer = pool.take(100).unwrap();
        let pinned = buffer.whole().pin();
        let address = pinned.address();
        drop(buffer);
        assert_ne!(pool.take(100).unwrap().whole().pin().address(), address);
        drop(pinned);
        assert_eq!(pool.take(100).unwrap().whole().pin().address(), address);
    }

    #[test]
    #[should_panic(expected = "out of reach")]
    fn a_pinned_buffer_cannot_be_looked_at() {
        let buffer = Buffers::new(None, 1 << 20).take(100).unwrap();
        let _pinned = buffer.whole().pin();
        buffer.with(|_| ());
    }

    #[test]
    #[should_panic(expected = "cannot be posted")]
    fn a_borrowed_buffer_cannot_be_pinned() {
        let buffer = Buffers::new(None, 1 << 20).take(100).unwrap();
        buffer.with(|_| drop(buffer.whole().pin()));
    }

    #[test]
    fn the_application_gets_its_memory_back() {
        let buffer = Buffers::new(None, 0).register(vec![1, 2, 3]).unwrap();
        buffer.slice(1, 1).with_mut(|b| b[0] = 9);
        assert_eq!(buffer.into_memory(), [1, 9, 3]);
    }
}
