//! What things take, for runs in virtual time.

/// A node's NIC, the wire to it, and the client program at the other end. Nanoseconds or picoseconds of virtual time.
///
/// A NIC has three resources, each with a queue of its own. Every verb passes through the *engine*; an atomic holds it
/// for longer, since the NIC reads, changes and writes the word over PCIe before it goes on. What a WRITE brings arrives
/// over one direction of the wire, what a READ fetches leaves over the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostModel {
    /// From a client to a node, or back, without any queue.
    pub one_way_ns: u64,
    /// At most this much more, drawn for each doorbell and each answer.
    pub jitter_ns: u64,
    /// What a READ or WRITE takes of the NIC's engine: the inverse of its message rate.
    pub verb_ns: u64,
    /// What a CAS or FAA takes of it.
    pub atomic_ns: u64,
    /// What a byte of payload takes of either direction of the wire: the inverse of its bandwidth.
    pub byte_ps: u64,
    /// Processor time of a client for each burst: everything that a task posts before it waits again. Stands for
    /// finding the completions, waking the task, and the operation's own work.
    pub burst_ns: u64,
    /// Processor time of a client for each verb that it posts.
    pub post_ns: u64,
}

impl CostModel {
    /// A ConnectX-3 of 56 Gbit/s, the NIC of the FUSEE paper, and a client that costs nothing. From figures of that
    /// paper (FAST'23), with the work requests that its code posts:
    ///
    /// - a round trip of 2 us: a look-up without the cache takes one more, and 7 instead of 5 us (Fig. 19);
    /// - 9.3 M SEARCHes of 1280 B from two nodes (Fig. 11) are 5.95 GB/s a NIC;
    /// - 14.5 M SEARCHes of 256 B pairs, 3 READs each (Fig. 12), are 21.8 M READs/s a NIC;
    /// - 2.0 M UPDATEs of 6 READs and WRITEs and one CAS (Fig. 11) leave 724 ns for the CAS.
    pub const CONNECTX3: CostModel = CostModel {
        one_way_ns: 900,
        jitter_ns: 200,
        verb_ns: 46,
        atomic_ns: 724,
        byte_ps: 168,
        burst_ns: 0,
        post_ns: 0,
    };
}
