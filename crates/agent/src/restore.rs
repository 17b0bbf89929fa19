//! Restoring redundancy: blocks are copied while clients work, then several homes at a time are frozen, completed and opened with
//! one member more (`docs/protocols/restore.md`).

use crate::change::{close, fence, publish};
use crate::{AgentError, Field};
use farrow_control::coordination::{Denial, Order, OrderId, Progress, Task, closed_homes};
use farrow_control::map::{ClusterMap, MemberEntry};
use farrow_control::message::Request;
use farrow_fabric::{Fabric, Meter, Nanos};
use farrow_layout::{Epoch, HomeId, NodeId};
use farrow_protocol::restore::{Copied, Pace, copy_sealed, frozen_bytes, join_member};
use farrow_protocol::{Events, make_alike};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::time::Duration;

/// Bytes that may be copied while the homes of one freeze are closed, beyond the first home: writers wait for them.
const FREEZE_BUDGET: u64 = 32 << 20;
/// Passes over the blocks, until what is left is copied under the freeze. Clients that fill extents faster than they are copied
/// must not keep a home exposed for ever.
const MOST_PASSES: u32 = 8;

/// Between two attempts that brought nothing, at first. Others freeze homes, and have done so before long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Between two attempts that brought nothing, however many there were: a node may be gone, and its successor on the way.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// All restores that are going on here, as far as blocks are copied while clients work. Clients wait for a freeze, not for a copy:
/// so one thread may copy at a low priority, and another one freeze.
#[derive(Default)]
pub struct Restores {
    running: BTreeMap<OrderId, Restore>,
    /// Handed out by [`Restores::copy`], and not put back yet.
    away: BTreeSet<OrderId>,
    /// How long to wait before the next attempt.
    pause: Duration,
}

/// Restores of which nothing is left to copy while clients work.
pub struct Ready(BTreeMap<OrderId, Restore>);

/// What a freeze came to.
pub struct Frozen {
    /// Orders that are done, or somebody else's by now.
    pub ended: Vec<Order>,
    handed: Vec<OrderId>,
    left: Ready,
}

struct Restore {
    order: Order,
    home: HomeId,
    target: MemberEntry,
    pace: Pace,
    copied: Copied,
    is_prepared: bool,
    passes: u32,
    /// Bytes that the next freeze would have to copy; none before there is nothing else left.
    left: Option<u64>,
    done: u64,
}

impl Restores {
    /// Whether there is something to go on with.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// How long to wait before the next [`Restores::copy`]: nothing as long as it gets on.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Goes on with `orders`, which are all that there are, for a while: a pass over the blocks of each. Answers those that are
    /// ready, to be put back ([`Restores::put_back`]) when they were frozen.
    pub async fn copy<F: Fabric>(&mut self, field: &impl Field<F>, orders: &[Order]) -> Option<Ready> {
        self.running.retain(|_, restore| orders.contains(&restore.order));
        for order in orders.iter().filter(|order| !self.away.contains(&order.id)) {
            if let Task::Restore { home, target, bytes_per_s } = order.task {
                let (order, pace) = (order.clone(), Pace::of(bytes_per_s));
                self.running.entry(order.id).or_insert_with(|| Restore::new(order, home, target, pace));
            }
        }
        let mut is_getting_on = false;
        for restore in self.running.values_mut() {
            let before = restore.done;
            if let Err(error) = restore.copy(field).await {
                tracing::debug!(order = %restore.order.id, home = %restore.home, %error, "a copy was interrupted");
                restore.left = None;
            }
            is_getting_on |= restore.done > before;
        }
        self.pause = match is_getting_on {
            true => Duration::ZERO,
            false => (2 * self.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE),
        };
        self.ready()
    }

    /// Takes back what a freeze has left over.
    pub fn put_back(&mut self, frozen: Frozen) {
        self.away.retain(|id| !frozen.handed.contains(id));
        self.running.extend(frozen.left.0);
        if !frozen.ended.is_empty() {
            self.pause = Duration::ZERO;
        }
    }

    /// Copies and freezes, by one who does both. Answers the orders that are done, or are to be given up since they are
    /// somebody else's.
    pub async fn work<F: Fabric>(
        &mut self,
        field: &impl Field<F>,
        events: &Events,
        orders: &[Order],
    ) -> Vec<Order> {
        let Some(ready) = self.copy(field, orders).await else { return Vec::new() };
        let frozen = ready.freeze(field, events).await;
        let ended = frozen.ended.clone();
        self.put_back(frozen);
        ended
    }

    /// The restores to be completed in one freeze.
    fn ready(&mut self) -> Option<Ready> {
        let (mut budget, mut is_first) = (FREEZE_BUDGET, true);
        let (ready, running) = std::mem::take(&mut self.running).into_iter().partition(|(_, restore)| {
            let Some(left) = restore.left else { return false };
            let is_taken = is_first || left <= budget;
            if is_taken {
                budget = budget.saturating_sub(left);
                is_first = false;
            }
            is_taken
        });
        self.running = running;
        let ready = Ready(ready);
        self.away.extend(ready.0.keys());
        (!ready.0.is_empty()).then_some(ready)
    }
}

impl Ready {
    /// Completes them while their homes are closed: clients that write wait for it.
    pub async fn freeze<F: Fabric>(mut self, field: &impl Field<F>, events: &Events) -> Frozen {
        let handed: Vec<_> = self.0.keys().copied().collect();
        let ended = match self.attempt(field, events, &handed).await {
            Ok(()) => self.end(&handed),
            Err(error) if error.is_busy() => Vec::new(),
            Err(error) => {
                tracing::info!(%error, "a freeze was given up; it is tried again");
                self.0.values_mut().for_each(|restore| restore.left = None);
                match error {
                    AgentError::Denied(Denial::NotYours(id)) => self.end(&[id]),
                    _ => Vec::new(),
                }
            }
        };
        Frozen { ended, handed, left: self }
    }

    fn end(&mut self, orders: &[OrderId]) -> Vec<Order> {
        let ended = orders.iter().filter_map(|id| self.0.remove(id));
        let ended = ended.map(|restore| {
            tracing::info!(order = %restore.order.id, home = %restore.home, bytes = restore.done, "a restore ended");
            restore.order
        });
        ended.collect()
    }

    async fn attempt<F: Fabric>(
        &mut self,
        field: &impl Field<F>,
        events: &Events,
        orders: &[OrderId],
    ) -> Result<(), AgentError> {
        let clock = field.fabric();
        let begin = clock.now();
        let (epoch, map) = close(field, orders).await?;
        let closed = clock.now();
        let targets: BTreeMap<HomeId, NodeId> =
            self.0.values().map(|restore| (restore.home, restore.target.node)).collect();
        let homes = closed_homes(&map, epoch).filter(|home| targets.contains_key(&home.id));
        let members = homes.flat_map(|home| home.members.iter().map(|member| member.node));
        let nodes: BTreeSet<_> = members.chain(targets.values().copied()).collect();
        fence(field, &map, nodes, epoch, &[]).await?;
        let fenced = clock.now();
        for restore in self.0.values_mut() {
            restore.complete(field, events, &map, epoch).await?;
        }
        let complete = clock.now();
        publish(field, orders, epoch).await?;
        let us = |from: Nanos, to: Nanos| (to.0 - from.0) / 1000;
        tracing::debug!(
            %epoch,
            homes = orders.len(),
            close_us = us(begin, closed),
            fence_us = us(closed, fenced),
            copy_us = us(fenced, complete),
            publish_us = us(complete, clock.now()),
            "homes were frozen"
        );
        Ok(())
    }
}

impl Restore {
    fn new(order: Order, home: HomeId, target: MemberEntry, pace: Pace) -> Restore {
        let (is_prepared, passes, left, done) = (false, 0, None, 0);
        Restore { order, home, target, pace, copied: Copied::default(), is_prepared, passes, left, done }
    }

    /// One pass: what is sealed and was not copied yet.
    async fn copy<F: Fabric>(&mut self, field: &impl Field<F>) -> Result<(), AgentError> {
        if self.left.is_some() {
            return Ok(());
        }
        let map = field.map();
        let entry = &map.homes[usize::from(self.home.0)];
        if !entry.is_open && self.is_prepared {
            // By this very order, perhaps, in a freeze that was given up. Only another one leads out of it: if it is somebody
            // else who has closed the home, the coordinator says so.
            self.freeze_again();
            return Ok(());
        }
        if !entry.is_open || entry.has_member(self.target.node) {
            return Err(AgentError::NotNow(format!("home {} is changing", self.home)));
        }
        if !self.is_prepared {
            let (home, segment) = (self.home, self.target.segment);
            let prepare = Request::Prepare { home, segment, epoch: map.epoch };
            let prepared = field.tell(&map, &[self.target.node], &[prepare]).await;
            prepared.into_iter().try_for_each(|prepared| prepared.map(drop))?;
            self.copied = Copied::default();
            self.is_prepared = true;
        }
        let source = field.member(&map, &entry.members[0], entry.epoch).await?;
        let target = field.member(&map, &self.target, Epoch(0)).await?;
        let (fabric, meter) = (field.fabric(), Meter::new());
        let (order, before, copied) = (self.order.id, self.done, Cell::new(0));
        let expected = frozen_bytes(fabric, &meter, &source, &self.copied).await?;
        let passed = {
            let copy = copy_sealed(fabric, &meter, &source, &target, &mut self.copied, &self.pace, &copied);
            let mut copy = std::pin::pin!(copy);
            poll_fn(|cx| {
                let polled = copy.as_mut().poll(cx);
                let done = before + copied.get();
                field.note(Progress { order, done, total: before + expected.max(copied.get()) });
                polled
            })
            .await
        };
        // What came before an interruption came.
        self.done += copied.get();
        let pass = passed?;
        self.passes += 1;
        if pass.copied == 0 || self.passes >= MOST_PASSES {
            self.left = Some(frozen_bytes(fabric, &meter, &source, &self.copied).await?);
        }
        Ok(())
    }

    /// Its home is closed by a freeze that came to nothing. All homes of that one are frozen again together, whatever the budget
    /// says: the coordinator does not let one go ahead while the others are closed.
    fn freeze_again(&mut self) {
        self.left = Some(0);
    }

    /// Under the freeze: makes the members alike, and the target like them.
    async fn complete<F: Fabric>(
        &mut self,
        field: &impl Field<F>,
        events: &Events,
        map: &ClusterMap,
        epoch: Epoch,
    ) -> Result<(), AgentError> {
        let view = field.home(map, &map.homes[usize::from(self.home.0)]).await?;
        let target = field.member(map, &self.target, epoch).await?;
        let (fabric, meter) = (field.fabric(), Meter::new());
        make_alike(fabric, events, &meter, &view).await?;
        let joined = join_member(fabric, events, &meter, &view, &target, &mut self.copied).await?;
        self.done += joined.copied;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restore(home: u16) -> (OrderId, Restore) {
        let (id, home, target) =
            (OrderId(home.into()), HomeId(home), MemberEntry { node: NodeId(7), segment: 0 });
        let order = Order { id, attempt: 1, task: Task::Restore { home, target, bytes_per_s: 0 } };
        (id, Restore::new(order, home, target, Pace::of(0)))
    }

    #[test]
    fn a_freeze_takes_no_more_than_clients_can_wait_for() {
        let mut restores = Restores { running: (0..3).map(restore).collect(), ..Restores::default() };
        restores.running.values_mut().for_each(|restore| restore.left = Some(FREEZE_BUDGET));
        assert_eq!(restores.ready().map(|ready| ready.0.len()), Some(1));
    }

    /// An agent froze three homes, heard no answer, and came back for the first of them alone: the others, which it had closed
    /// itself, were in its way, and all of them stayed closed until it was relieved, 64 leases later.
    #[test]
    fn homes_of_a_freeze_that_came_to_nothing_are_frozen_again_together() {
        let mut restores = Restores { running: (0..3).map(restore).collect(), ..Restores::default() };
        restores.running.values_mut().for_each(Restore::freeze_again);
        assert_eq!(restores.ready().map(|ready| ready.0.len()), Some(3));
        assert!(restores.ready().is_none(), "they are away");
    }
}
