//! The control page that `fabric-shm` shares between a node and its clients on one host.

use crate::described::layout;

/// Set by the kernel in [`ShmControl::owner`] when the thread that owned it has died (FUTEX_OWNER_DIED).
pub const OWNER_DIED: u32 = 0x4000_0000;

layout! {
    /// The head of the control page. A client looks at `owner` and `lease_until_ns` before and after the loads and
    /// stores of each chain, so that a dead or fencing node shows as a failed link.
    pub struct ShmControl: 64 bytes {
        /// "FARROWCP".
        0 => magic: u64, "the daemon, before it shares the page", "constant";
        /// Format of this page.
        8 => version: u32, "the daemon, before it shares the page", "constant";
        /// Thread id of the daemon's liveness thread, a robust futex: the kernel sets OWNER_DIED when it dies.
        12 => owner: u32, "the daemon once; the kernel when the daemon dies", "aligned; atomic";
        /// Until when (CLOCK_BOOTTIME) links may be used; all ones without a coordinator.
        16 => lease_until_ns: u64, "the daemon", "aligned; atomic";
        /// Length of the memory beside, in bytes.
        24 => memory_len: u64, "the daemon, before it shares the page", "constant";
        /// How many [`ShmLink`]s follow.
        32 => links: u32, "the daemon, before it shares the page", "constant";
        /// Zero.
        36 => reserved: u32, "nobody", "constant";
        /// Zero.
        40 => reserved2: [u64; 3], "nobody", "constant";
    }
}

layout! {
    /// One link of one client. The daemon raises `epoch` to break it, then waits until `busy` is zero (or its process
    /// is gone) and raises `grant`: from then on nothing that the client posted on it will execute.
    pub struct ShmLink: 64 bytes {
        /// The epoch that the link belongs to; all ones while nobody has it. Even a slow client sees that it moved.
        0 => epoch: u64, "the daemon", "aligned; atomic";
        /// 1 while the client executes a chain.
        8 => busy: u32, "the client, by CAS of the word that it forms with `grant`", "aligned; atomic";
        /// Which grant of this link is valid: a client that was granted an earlier one cannot set `busy`, so a link can
        /// be granted anew within an epoch. Begins at random.
        12 => grant: u32, "the daemon, while `busy` is zero or its process is gone", "aligned; atomic";
        /// Zero.
        16 => reserved2: [u64; 6], "nobody", "constant; keeps each link in a cache line of its own";
    }
}

impl ShmControl {
    /// What the control page begins with.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"FARROWCP");
    /// The format that this crate writes.
    pub const VERSION: u32 = 1;
    /// No coordinator: the lease never ends.
    pub const NO_LEASE: u64 = u64::MAX;
}

impl ShmLink {
    /// The epoch of a link that nobody has.
    pub const UNUSED: u64 = u64::MAX;
}
