//! Restoring redundancy: blocks are copied while clients work, then several homes at a time are frozen, completed and opened with
//! one member more (`docs/protocols/restore.md`).

use crate::change::{close, fence, publish};
use crate::{AgentError, Field};
use farrow_control::coordination::{Denial, Order, OrderId, Progress, Task, closed_homes};
use farrow_control::map::{ClusterMap, MemberEntry};
use farrow_control::message::Request;
use farrow_fabric::{Fabric, Meter, Nanos};
use farrow_layout::{Epoch, HomeId};
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
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// All restores that are going on here.
#[derive(Default)]
pub struct Restores {
    running: BTreeMap<OrderId, Restore>,
    /// How long to wait before the next attempt.
    pause: Duration,
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

    /// How long to wait before the next [`Restores::work`]: nothing as long as it gets on.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Goes on with `orders`, which are all that there are, for a while: a pass over the blocks of each, and a freeze of those that
    /// are ready. Answers which are done, or are to be given up since they are somebody else's.
    pub async fn work<F: Fabric>(
        &mut self,
        field: &impl Field<F>,
        events: &Events,
        orders: &[Order],
    ) -> Vec<Order> {
        self.running.retain(|_, restore| orders.contains(&restore.order));
        for order in orders {
            if let Task::Restore { home, target, bytes_per_s } = order.task {
                let (order, pace) = (order.clone(), Pace::of(bytes_per_s));
                self.running.entry(order.id).or_insert_with(|| Restore::new(order, home, target, pace));
            }
        }
        let done = |running: &BTreeMap<OrderId, Restore>| running.values().map(|it| it.done).sum::<u64>();
        let before = done(&self.running);
        for restore in self.running.values_mut() {
            if let Err(error) = restore.copy(field).await {
                tracing::debug!(order = %restore.order.id, home = %restore.home, %error, "a copy was interrupted");
                restore.left = None;
            }
        }
        let ready = self.ready();
        let ended = match ready.is_empty() {
            true => Vec::new(),
            false => self.freeze_or_say_why(field, events, &ready).await,
        };
        let is_getting_on = !ended.is_empty() || done(&self.running) > before;
        self.pause = match is_getting_on {
            true => Duration::ZERO,
            false => (2 * self.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE),
        };
        ended
    }

    async fn freeze_or_say_why<F: Fabric>(
        &mut self,
        field: &impl Field<F>,
        events: &Events,
        ready: &[OrderId],
    ) -> Vec<Order> {
        match self.freeze(field, events, ready).await {
            Ok(()) => self.end(ready),
            Err(error) if error.is_busy() => Vec::new(),
            Err(error) => {
                tracing::info!(%error, "a freeze was given up; it is tried again");
                for id in ready {
                    if let Some(restore) = self.running.get_mut(id) {
                        restore.left = None;
                    }
                }
                match error {
                    AgentError::Denied(Denial::NotYours(id)) => self.end(&[id]),
                    _ => Vec::new(),
                }
            }
        }
    }

    fn end(&mut self, orders: &[OrderId]) -> Vec<Order> {
        let ended = orders.iter().filter_map(|id| self.running.remove(id));
        let ended = ended.map(|restore| {
            tracing::info!(order = %restore.order.id, home = %restore.home, bytes = restore.done, "a restore ended");
            restore.order
        });
        ended.collect()
    }

    /// The restores to be completed in one freeze.
    fn ready(&self) -> Vec<OrderId> {
        let mut budget = FREEZE_BUDGET;
        let mut ready = Vec::new();
        for (id, restore) in &self.running {
            let Some(left) = restore.left else { continue };
            if ready.is_empty() || left <= budget {
                budget = budget.saturating_sub(left);
                ready.push(*id);
            }
        }
        ready
    }

    async fn freeze<F: Fabric>(
        &mut self,
        field: &impl Field<F>,
        events: &Events,
        ready: &[OrderId],
    ) -> Result<(), AgentError> {
        let clock = field.fabric();
        let begin = clock.now();
        let (epoch, map) = close(field, ready).await?;
        let closed = clock.now();
        let restores: BTreeMap<HomeId, MemberEntry> =
            ready.iter().map(|id| (self.running[id].home, self.running[id].target)).collect();
        let homes = closed_homes(&map, epoch).filter(|home| restores.contains_key(&home.id));
        let members = homes.flat_map(|home| home.members.iter().map(|member| member.node));
        let nodes: BTreeSet<_> = members.chain(restores.values().map(|target| target.node)).collect();
        fence(field, &map, nodes, epoch, &[]).await?;
        let fenced = clock.now();
        for id in ready {
            let restore = self.running.get_mut(id).expect("it is ready");
            restore.complete(field, events, &map, epoch).await?;
        }
        let complete = clock.now();
        publish(field, ready, epoch).await?;
        let us = |from: Nanos, to: Nanos| (to.0 - from.0) / 1000;
        tracing::debug!(
            %epoch,
            homes = ready.len(),
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
            self.left = Some(FREEZE_BUDGET);
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
