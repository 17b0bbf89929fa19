//! A home that is restored onto a spare: the agent that copies it, and what must be so when the spare becomes a member.

use super::coordinator::{Agent, Coordinator, NotChanged, rpc, wrong};
use farrow_fabric::{Fabric, Meter};
use farrow_fabric_sim::TaskId;
use farrow_layout::{Epoch, ExtentState, ExtentWord, NodeId, SlotAddr, SlotIndex};
use farrow_protocol::restore::{Copied, Pace, copy_sealed, join_member};
use farrow_protocol::{Close, Home, make_alike};
use std::cell::Cell;
use std::rc::Rc;

/// A restore that is going on, or is over.
pub struct Restore {
    pub(super) task: TaskId,
    target: NodeId,
    /// The epoch under which its agent has closed the home last.
    frozen: Rc<Cell<Option<Epoch>>>,
}

impl Restore {
    pub fn begin(coordinator: &Coordinator, target: NodeId) -> Restore {
        let world = coordinator.world();
        let fabric = world.fabric(4 << 20);
        let frozen = Rc::default();
        let restorer = Restorer {
            agent: Agent { coordinator: coordinator.clone(), fabric: fabric.clone() },
            target,
            frozen: Rc::clone(&frozen),
        };
        let task = world.spawn(&fabric, async move { restorer.run().await });
        Restore { task, target, frozen }
    }

    /// Its agent stops where it is, and another begins; also answers whether the home was closed by the first one.
    pub fn begin_anew(self, coordinator: &Coordinator) -> (Restore, bool) {
        let world = coordinator.world();
        if world.has_ended(self.task) {
            return (self, false);
        }
        world.stop(self.task);
        let was_closed = self.frozen.get().is_some_and(|epoch| coordinator.is_closed_in(epoch));
        (Restore::begin(coordinator, self.target), was_closed)
    }
}

struct Restorer {
    agent: Agent,
    target: NodeId,
    frozen: Rc<Cell<Option<Epoch>>>,
}

impl Restorer {
    async fn run(self) {
        let Agent { coordinator, fabric } = &self.agent;
        rpc(fabric).await;
        self.prepare();
        let mut copied = Copied::new();
        loop {
            let epoch = coordinator.opened().await;
            if coordinator.world().is_dead(self.target) || coordinator.nodes().contains(&self.target) {
                return;
            }
            let copies = self.copy(&mut copied).await;
            rpc(fabric).await;
            if !copies || !coordinator.is_open_in(epoch) {
                continue;
            }
            let epoch = coordinator.close();
            self.frozen.set(Some(epoch));
            match self.freeze(epoch, &mut copied).await {
                Ok(()) => return,
                Err(NotChanged::Superseded) => {}
                Err(NotChanged::Failed(failure)) => {
                    assert!(failure.is_of_link(), "{epoch} cannot be restored in: {failure}");
                    if coordinator.is_closed_in(epoch) {
                        coordinator.begin_change();
                    }
                }
            }
        }
    }

    /// What the target's daemon does: nothing of another attempt is left.
    fn prepare(&self) {
        let Agent { coordinator, .. } = &self.agent;
        let world = coordinator.world();
        if !world.is_dead(self.target) {
            let len = world.memory(self.target).len() as usize;
            world.fence(self.target);
            world.poke(self.target, farrow_layout::RemoteAddr(0), &vec![0; len]);
        }
    }

    /// While clients work; whether it went well.
    async fn copy(&self, copied: &mut Copied) -> bool {
        let Agent { coordinator, fabric } = &self.agent;
        let source = coordinator.member(fabric, coordinator.nodes()[0]);
        let target = coordinator.member(fabric, self.target);
        let (meter, progress) = (Meter::new(), Cell::new(0));
        let pace = if fabric.random().is_multiple_of(2) { Pace::none() } else { Pace::of(100_000_000) };
        for _ in 0..1 + fabric.random() % 2 {
            let copy = copy_sealed(fabric, &meter, &source, &target, copied, &pace, &progress);
            if let Err(failure) = copy.await {
                assert!(failure.is_of_link(), "sealed extents cannot be copied: {failure}");
                return false;
            }
        }
        true
    }

    async fn freeze(&self, epoch: Epoch, copied: &mut Copied) -> Result<(), NotChanged> {
        let Agent { coordinator, fabric } = &self.agent;
        let closed = self.agent.close(epoch).await?;
        let [view] = &closed[..] else { panic!("one home is closed") };
        rpc(fabric).await;
        self.agent.check(epoch)?;
        coordinator.world().fence(self.target);
        let target = coordinator.member(fabric, self.target);
        let (events, meter) = (coordinator.events(), Meter::new());
        make_alike(fabric, events, &meter, view).await?;
        join_member(fabric, events, &meter, view, &target, copied).await?;
        let members = view.members().iter().cloned().chain([target]).collect();
        let view = Home::new(view.id(), members).of_epoch(epoch).closed();
        self.agent.publish(vec![view]).await?;
        coordinator.world().note(|| wrong(&format!("{} is a member", self.target)));
        self.check_alike();
        Ok(())
    }

    /// the new member holds all that the primary does.
    fn check_alike(&self) {
        let coordinator = &self.agent.coordinator;
        let (primary, segment) = (coordinator.nodes()[0], coordinator.segment());
        let world = coordinator.world();
        let (old, new) = (world.memory(primary), world.memory(self.target));
        let plan = segment.plan();
        for index in (0..plan.slots_per_partition()).map(SlotIndex) {
            let slot = SlotAddr { partition: 0, index };
            for at in [segment.slot(slot), segment.committed(slot)] {
                assert_eq!(old.word(at), new.word(at), "slot {} of the new member", index.0);
            }
        }
        for extent in 0..plan.extents() {
            let at = segment.extent_record(extent);
            assert_eq!(old.word(at), new.word(at), "the record of extent {extent} of the new member");
            if ExtentWord::from_raw(old.word(at)).state() != ExtentState::Free {
                let at = segment.block_bytes(plan.extent_start(extent));
                let len = plan.geometry().extent_len as usize;
                assert!(old.bytes(at, len) == new.bytes(at, len), "extent {extent} of the new member");
            }
        }
    }
}
