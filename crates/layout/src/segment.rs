//! The head of a segment.

use crate::described::layout;

layout! {
    /// The first bytes of a segment, padded to 4096: which home's replica it is.
    pub struct SegmentHeader: 32 bytes {
        /// "FARROWSG"; zero where no home lives.
        0 => magic: u64, "the node's daemon, when it formats: store", "constant while any client is joined";
        /// The home.
        8 => home: u16, "the node's daemon, when it formats: store", "constant";
        /// Place in the home's order when the segment was given to it: 0 is the primary, `JOINED` one that came later.
        10 => rank: u16, "the node's daemon, when it formats: store", "constant";
        /// Zero.
        12 => reserved: u32, "nobody yet", "constant";
        /// The epoch in which the segment was given to the home.
        16 => epoch: u64, "the node's daemon, when it formats: store", "constant";
        /// Zero.
        24 => reserved2: u64, "nobody yet", "constant";
    }
}

impl SegmentHeader {
    /// What a segment in use begins with.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"FARROWSG");
    /// The rank of a replica that was added to a home behind those that it had.
    pub const JOINED: u16 = u16::MAX;
    /// Bytes set aside for the header.
    pub const SPACE: u64 = 4096;
}
