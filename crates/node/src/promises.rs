//! What this node has promised its peers: not to end a fence that deposes them (`docs/protocols/membership.md`).

use farrow_control::message::Refusal;
use farrow_layout::{Epoch, NodeId};
use farrow_mutant::{self as mutant, Mutant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whether a node that was fenced to `current` may be fenced to `asked`: whoever asks for an earlier epoch is not the agent any more,
/// and would take the links of the one that is.
///
/// # Errors
/// [`Refusal::StaleEpoch`].
pub fn check_fence(current: Epoch, asked: Epoch) -> Result<(), Refusal> {
    if asked <= current && !mutant::is(Mutant::ZombieUnfenced) {
        return Err(Refusal::StaleEpoch { asked, current });
    }
    Ok(())
}

/// Promises given, and to whom none is given any more. Thread-safe. Time is nanoseconds of one clock of this node's, the same in all
/// calls.
#[derive(Debug, Default)]
pub struct Promises(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    until: BTreeMap<NodeId, u64>,
    deposed: BTreeSet<NodeId>,
}

impl Promises {
    /// Promises `peer` that no fence deposing it ends within `period` from `now_ns`.
    ///
    /// # Errors
    /// Such a fence has begun.
    pub fn give(&self, peer: NodeId, period: Duration, now_ns: u64) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.deposed.contains(&peer) {
            return Err(Refusal::Deposed(peer));
        }
        let until = state.until.entry(peer).or_insert(now_ns);
        *until = (*until).max(now_ns.saturating_add(period.as_nanos() as u64));
        Ok(())
    }

    /// Gives none to `deposed` from now on. Says how long those given still hold.
    pub fn end(&self, deposed: &[NodeId], now_ns: u64) -> Duration {
        let mut state = self.state();
        state.deposed.extend(deposed);
        if mutant::is(Mutant::PromiseNotAwaited) {
            return Duration::ZERO;
        }
        let left = deposed.iter().filter_map(|node| state.until.get(node)?.checked_sub(now_ns));
        Duration::from_nanos(left.max().unwrap_or_default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step; a panic leaves none half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(3);
    const LEASE: Duration = Duration::from_secs(1);
    const NS: u64 = LEASE.as_nanos() as u64;

    #[test]
    fn a_fence_waits_for_what_was_promised_and_nothing_is_promised_behind_it() {
        let (it, now) = (Promises::default(), 7);
        it.give(PEER, LEASE, now).unwrap();
        it.give(PEER, LEASE / 2, now).expect("a shorter one takes nothing back");
        assert_eq!(it.end(&[PEER, NodeId(4)], now + NS / 4), LEASE * 3 / 4);
        assert_eq!(it.give(PEER, LEASE, now), Err(Refusal::Deposed(PEER)));
        assert_eq!(it.end(&[PEER], now + NS * 2), Duration::ZERO, "a fence may be tried again");
    }

    #[test]
    fn whoever_was_promised_nothing_is_waited_for_by_nobody() {
        let it = Promises::default();
        assert_eq!(it.end(&[PEER], 7), Duration::ZERO);
    }
}
