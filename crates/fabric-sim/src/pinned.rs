//! Copies between simulated memory and the pinned buffers of a client: the only unsafe code of the simulator.

use farrow_fabric::Pinned;

/// The bytes of all segments, in order.
pub(crate) fn gather(segments: &[Pinned]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(segments.iter().map(Pinned::len).sum());
    for segment in segments {
        // SAFETY: a pinned slice is initialised memory of that length that lives as long as it is pinned; it belongs to
        // this thread (it is not `Send`), and nobody has a reference to its bytes while it is pinned.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(segment.address(), segment.len()) });
    }
    bytes
}

/// Puts `bytes` at `start` of what the segments make together.
pub(crate) fn scatter(segments: &[Pinned], mut start: usize, mut bytes: &[u8]) {
    for segment in segments {
        if start >= segment.len() {
            start -= segment.len();
            continue;
        }
        let count = bytes.len().min(segment.len() - start);
        let (here, rest) = bytes.split_at(count);
        // SAFETY: as in `gather`, and `start + count` does not pass the segment's end; the bytes come from elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(here.as_ptr(), segment.address().add(start), count) };
        (bytes, start) = (rest, 0);
        if bytes.is_empty() {
            return;
        }
    }
    assert!(bytes.is_empty(), "a READ brings as many bytes as its segments hold");
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_fabric::Buffers;

    #[test]
    fn what_is_scattered_is_gathered() {
        let buffer = Buffers::new(None, 1 << 20).take(100).unwrap();
        buffer.with_mut(|b| b.fill(0));
        let segments = [buffer.slice(0, 3).pin(), buffer.slice(10, 0).pin(), buffer.slice(50, 9).pin()];
        scatter(&segments, 0, &[1, 2]);
        scatter(&segments, 2, &[3, 4, 5]);
        scatter(&segments, 11, &[9]);
        scatter(&segments, 12, &[]);
        assert_eq!(gather(&segments), [1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 9]);
    }
}
