//! The two traits: a fabric, and a link to one node.

use crate::{Answers, Buffers, Chain, Nanos, Totals, VerbError};
use farrow_layout::NodeId;
use std::time::Duration;

/// What a protocol may use of the world: links, buffers, time, randomness. One per thread.
pub trait Fabric: Clone + 'static {
    /// A connection to one memory node.
    type Link: Link;
    /// Waiting for a time.
    type Sleep: Future<Output = ()> + Unpin + 'static;

    /// Monotonic time.
    fn now(&self) -> Nanos;

    /// Completes once `now() >= at`.
    fn sleep_until(&self, at: Nanos) -> Self::Sleep;

    /// Random bits; from a seed where runs are to be repeated.
    fn random(&self) -> u64;

    /// The registered memory of this thread.
    fn buffers(&self) -> &Buffers;

    /// Holds doorbells back until the matching [`Fabric::uncork`]; calls nest. See [`crate::corked`].
    fn cork(&self);

    /// Rings, once per link, for everything posted since [`Fabric::cork`].
    fn uncork(&self);

    /// Reaps completions and fires timers; `true` if anything happened. Never blocks.
    fn progress(&self) -> bool;

    /// Blocks the thread until something completes, a timer is due, another thread wakes it, or `at_most` has passed.
    fn idle(&self, at_most: Duration);

    /// Wakes the thread that owns this fabric out of [`Fabric::idle`], from any thread.
    fn waker(&self) -> std::task::Waker;

    /// How long to poll before [`Fabric::idle`] is worth its cost.
    fn spin(&self) -> Duration;

    /// What this thread has posted so far.
    fn totals(&self) -> Totals;
}

/// One ordered connection to one memory node: for verbs, a reliable-connected queue pair.
pub trait Link: Clone + 'static {
    /// The answer to one chain.
    type Completion: Future<Output = Result<Answers, VerbError>> + Unpin + 'static;

    /// Posts `chain` with one doorbell. Its verbs take effect in order; nothing is promised between links.
    ///
    /// Dropping the future abandons the answer, never the effect: the verbs may still execute, and their buffers stay
    /// pinned until the provider has reaped them.
    ///
    /// # Errors
    /// The completion says of a failed chain whether any of it may have executed ([`crate::Effect`]). After an error
    /// other than a local refusal the link is dead: every later chain fails with [`crate::Effect::None`].
    fn post(&self, chain: Chain) -> Self::Completion;

    /// The node at the other end.
    fn node(&self) -> NodeId;

    /// What this link can do.
    fn caps(&self) -> Caps;

    /// Whether chains can still be posted.
    fn is_up(&self) -> bool;
}

/// What a link can do, and what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The provider's name in tables, metrics and `--transport`: `shm`, `rdma` or `sim`.
    pub transport: &'static str,
    /// WRITEs up to this many bytes carry their data in the work request.
    pub inline: usize,
    /// READs and atomics that may be outstanding; the link queues what is posted beyond.
    pub outstanding_reads: usize,
    /// Whether CAS and FAA are atomic against the node's own CPU too, not just against other verbs.
    pub atomic_with_cpu: bool,
    /// Bytes of remote memory that the link reaches.
    pub memory_len: u64,
}
