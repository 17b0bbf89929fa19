//! READs on their way, and what must not overtake them.
//!
//! A READ whose answer was lost is executed again, and brings the bytes of then: whatever was posted behind it may have been
//! carried out by that time (the fence column of the table in `plan.rs`). Within a chain the order is promised, and
//! planned. Between chains a link promises less: that a chain does not see what a later chain writes *to the bytes it READs*. So a WRITE
//! or atomic of a later chain is fenced if it meets the bytes of a READ that has no answer yet; others are not, since
//! fencing them all would make a link wait a round trip for each change.

use std::collections::VecDeque;

/// The remote ranges of the READs that were posted after the last fence and are not retired.
#[derive(Debug, Default)]
pub(crate) struct Reads(VecDeque<Range>);

#[derive(Debug)]
struct Range {
    /// Of the work request.
    number: u32,
    start: u64,
    end: u64,
}

/// More than that are not compared one by one: a fence is cheaper.
const MAX_COMPARED: usize = 64;

impl Reads {
    /// Work request `number` READs `len` bytes at `address`.
    pub(crate) fn posted(&mut self, number: u32, address: u64, len: u64) {
        self.0.push_back(Range { number, start: address, end: address + len });
    }

    /// Whether a change of `len` bytes at `address` has to wait for a READ.
    pub(crate) fn must_be_fenced(&self, address: u64, len: u64) -> bool {
        let meets = |read: &Range| read.start < address + len && address < read.end;
        self.0.len() > MAX_COMPARED || self.0.iter().any(meets)
    }

    /// A work request with a fence was posted: what comes later comes after all READs so far.
    pub(crate) fn fenced(&mut self) {
        self.0.clear();
    }

    /// Work request `number` has succeeded, and with it all before it.
    pub(crate) fn retire(&mut self, number: u32) {
        // Numbers wrap; those in use lie within half of the circle.
        while self.0.front().is_some_and(|read| number.wrapping_sub(read.number) as i32 >= 0) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_meets_a_read_on_its_way_is_fenced() {
        let mut reads = Reads::default();
        reads.posted(u32::MAX, 100, 10);
        reads.posted(0, 200, 10);
        let fenced = |reads: &Reads| {
            let starts = [92, 93, 109, 110, 192, 193, 209, 210];
            starts.map(|start| reads.must_be_fenced(start, 8))
        };
        assert_eq!(fenced(&reads), [false, true, true, false, false, true, true, false]);
        reads.retire(u32::MAX);
        assert_eq!(fenced(&reads), [false, false, false, false, false, true, true, false]);
        reads.fenced();
        assert_eq!(fenced(&reads), [false; 8]);
    }

    #[test]
    fn many_reads_are_fenced_rather_than_compared() {
        let mut reads = Reads::default();
        for number in 0..=MAX_COMPARED as u32 {
            assert!(!reads.must_be_fenced(1 << 40, 8));
            reads.posted(number, 0, 8);
        }
        assert!(reads.must_be_fenced(1 << 40, 8));
    }
}
