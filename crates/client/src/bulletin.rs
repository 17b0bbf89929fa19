//! The latest map that a process knows, and who waits for a later one.

use farrow_control::map::ClusterMap;
use farrow_layout::Epoch;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The latest map that a process knows. All of its threads look here.
pub(crate) struct Bulletin(Mutex<Board>);

struct Board {
    map: Arc<ClusterMap>,
    waiting: BTreeMap<u64, Waker>,
    tickets: u64,
}

impl Bulletin {
    pub(crate) fn new(map: ClusterMap) -> Arc<Bulletin> {
        Arc::new(Bulletin(Mutex::new(Board { map: Arc::new(map), waiting: BTreeMap::new(), tickets: 0 })))
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn map(&self) -> Arc<ClusterMap> {
        self.lock().map.clone()
    }

    /// Makes a later map of the same cluster known to everybody; whether it was one.
    pub(crate) fn publish(&self, map: ClusterMap) -> bool {
        let mut board = self.lock();
        let is_ours = (&map.name, map.geometry, map.commit, map.homes.len())
            == (&board.map.name, board.map.geometry, board.map.commit, board.map.homes.len());
        if map.epoch <= board.map.epoch || !is_ours {
            return false;
        }
        if let Some(why) = map.defect() {
            tracing::warn!(epoch = %map.epoch, why, "a map that cannot be used");
            return false;
        }
        tracing::debug!(epoch = %map.epoch, "a later map");
        board.map = Arc::new(map);
        let waiting = std::mem::take(&mut board.waiting);
        drop(board);
        waiting.into_values().for_each(Waker::wake);
        true
    }

    /// Ends when a later map than that of `epoch` is known.
    pub(crate) fn newer_than(self: &Arc<Self>, epoch: Epoch) -> Newer {
        Newer { bulletin: self.clone(), epoch, ticket: None }
    }
}

/// See [`Bulletin::newer_than`].
pub(crate) struct Newer {
    bulletin: Arc<Bulletin>,
    epoch: Epoch,
    ticket: Option<u64>,
}

impl Future for Newer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let bulletin = self.bulletin.clone();
        let mut board = bulletin.lock();
        if board.map.epoch > self.epoch {
            return Poll::Ready(());
        }
        let ticket = *self.ticket.get_or_insert_with(|| {
            board.tickets += 1;
            board.tickets
        });
        board.waiting.insert(ticket, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Newer {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.bulletin.lock().waiting.remove(&ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_control::map::{CommitKind, Shape};
    use farrow_layout::Policy;
    use std::pin::pin;

    fn map(epoch: u64) -> ClusterMap {
        let shape = Shape {
            name: "test".into(),
            commit: CommitKind::Colocated,
            policy: Policy::Replicate { copies: 2 },
            nodes: vec!["127.0.0.1:7400".into(), "127.0.0.1:7401".into()],
            homes_per_node: 1,
            max_keys: 1000,
            memory_len: 64 << 20,
            block_len: 256 << 10,
            extent_len: 64 << 10,
        };
        ClusterMap { epoch: Epoch(epoch), ..ClusterMap::of(&shape).unwrap() }
    }

    #[test]
    fn whoever_waits_is_told_of_a_later_map_and_of_no_other() {
        let bulletin = Bulletin::new(map(3));
        let mut newer = pin!(bulletin.newer_than(Epoch(3)));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(newer.as_mut().poll(cx).is_pending());
        assert!(!bulletin.publish(map(3)) && !bulletin.publish(map(2)));
        assert!(!bulletin.publish(ClusterMap { name: "else".into(), ..map(9) }));
        assert!(newer.as_mut().poll(cx).is_pending());
        assert!(bulletin.publish(map(4)));
        assert!(newer.as_mut().poll(cx).is_ready());
        assert_eq!(bulletin.map().epoch, Epoch(4));
    }

    #[test]
    fn one_who_waits_no_longer_leaves_nothing_behind() {
        let bulletin = Bulletin::new(map(1));
        {
            let mut newer = pin!(bulletin.newer_than(Epoch(1)));
            assert!(newer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(bulletin.lock().waiting.len(), 1);
        }
        assert!(bulletin.lock().waiting.is_empty());
    }
}
