//! Where the next entry goes: the cursor in an extent that this client owns.

use farrow_layout::{BlockAddr, ENTRY_ALIGN, ExtentWord, HomeId};
use std::cell::Cell;
use std::rc::Rc;

/// Extents that a memory node gave to this client: contiguous bytes in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The home.
    pub home: HomeId,
    /// First extent.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// First byte.
    pub start: BlockAddr,
    /// Bytes.
    pub len: u64,
    /// The record of each of them, as the primary's node wrote it.
    pub word: ExtentWord,
}

/// A cursor in one extent. Only its owner appends.
#[derive(Debug)]
pub struct Appender {
    extent: Extent,
    used: Cell<u64>,
    in_flight: Rc<Cell<u32>>,
}

/// Room for one entry. Its operation says when it has ended; until then the extent is not sealed. An operation that is
/// dropped before that leaves the extent open for good, since its verbs may still land.
#[derive(Debug)]
#[must_use = "an operation that never ends keeps its extent from being sealed"]
pub struct Reservation {
    /// The first byte.
    pub at: BlockAddr,
    /// Bytes, at least as many as asked for.
    pub len: usize,
    in_flight: Rc<Cell<u32>>,
}

impl Appender {
    /// A cursor at the start of `extent`.
    pub fn new(extent: Extent) -> Appender {
        Appender { extent, used: Cell::new(0), in_flight: Rc::default() }
    }

    /// Room for an entry of `len` bytes, or `None` when the extent has not that much left.
    pub fn reserve(&self, len: usize) -> Option<Reservation> {
        let len = len.next_multiple_of(ENTRY_ALIGN);
        let at = self.used.get();
        if at + len as u64 > self.extent.len {
            return None;
        }
        self.used.set(at + len as u64);
        self.in_flight.set(self.in_flight.get() + 1);
        Some(Reservation { at: BlockAddr(self.extent.start.0 + at), len, in_flight: self.in_flight.clone() })
    }

    /// Bytes appended.
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// Bytes left.
    pub fn left(&self) -> u64 {
        self.extent.len - self.used.get()
    }

    /// The extent.
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Whether all operations that append here have ended, so that it can be sealed.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.get() == 0
    }
}

impl Reservation {
    /// The operation has ended: none of its verbs is on its way any more.
    pub fn end(self) {
        self.in_flight.set(self.in_flight.get() - 1);
    }

    /// The operation has ended, and no slot ever named the room: it is cut again, if it was the last one. Answers whether it
    /// was.
    pub fn give_back(self, appender: &Appender) -> bool {
        let end = self.at.0 + self.len as u64 - appender.extent.start.0;
        let is_last = Rc::ptr_eq(&self.in_flight, &appender.in_flight) && appender.used.get() == end;
        if is_last {
            appender.used.set(end - self.len as u64);
        }
        self.end();
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::ClientId;

    fn appender(len: u64) -> Appender {
        let word = ExtentWord::FREE.opened(ClientId(1));
        Appender::new(Extent { home: HomeId(0), first: 4, count: 1, start: BlockAddr(4096), len, word })
    }

    #[test]
    fn reservations_follow_each_other_and_are_aligned() {
        let a = appender(1024);
        let first = a.reserve(100).unwrap();
        let second = a.reserve(64).unwrap();
        assert_eq!((first.at.0, first.len, second.at.0), (4096, 128, 4096 + 128));
        assert!(a.reserve(1000).is_none());
        assert!(!a.is_quiet());
        first.end();
        second.end();
        assert!(a.is_quiet());
        assert_eq!((a.used(), a.left()), (192, 832));
    }

    #[test]
    fn an_operation_that_never_ended_keeps_the_extent_open() {
        let a = appender(1024);
        drop(a.reserve(64).unwrap());
        assert!(!a.is_quiet());
    }

    #[test]
    fn only_the_last_reservation_can_be_given_back() {
        let a = appender(1024);
        let (first, second) = (a.reserve(64).unwrap(), a.reserve(64).unwrap());
        assert!(!first.give_back(&a));
        assert_eq!(a.used(), 128);
        assert!(second.give_back(&a));
        assert_eq!(a.used(), 64);
        assert!(a.is_quiet());
    }
}
