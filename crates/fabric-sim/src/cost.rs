//! What things take, for runs in virtual time.

/// A node's NIC and the wire to it. All in picoseconds or nanoseconds of virtual time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    /// From a client to a node, or back, without any queue.
    pub one_way_ns: u64,
    /// At most this much more, drawn for each chain and each answer.
    pub jitter_ns: u64,
    /// What one verb takes of the node's NIC: the inverse of its message rate.
    pub verb_ns: u64,
    /// What a CAS or FAA takes of it.
    pub atomic_ns: u64,
    /// What a byte takes of it: the inverse of its bandwidth.
    pub byte_ps: u64,
}

impl CostModel {
    /// A ConnectX-3 of 56 Gbit/s, the NIC of the FUSEE paper: atomics are its scarce resource.
    pub const CONNECTX3: CostModel =
        CostModel { one_way_ns: 900, jitter_ns: 200, verb_ns: 30, atomic_ns: 400, byte_ps: 160 };

    /// What a piece of `len` bytes takes of the NIC; `is_first` of its verb.
    pub(crate) fn service_ns(&self, is_atomic: bool, is_first: bool, len: usize) -> u64 {
        let verb = if is_atomic { self.atomic_ns } else { self.verb_ns };
        (if is_first { verb } else { 0 }) + len as u64 * self.byte_ps / 1000
    }
}
