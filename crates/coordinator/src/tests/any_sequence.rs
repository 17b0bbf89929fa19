//! Whatever happens in whatever order, these hold.

use super::*;
use crate::OrderEntry;
use farrow_control::coordination::OrderId;
use farrow_layout::ClientId;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Step {
    Start(u8),
    Stop(u8),
    Pass(u16),
    Close(u8),
    Publish(u8),
    ForgedPublish(u8, u8),
    Complete(u8),
    NewClient(u8),
    Watch(u8),
    Leave(u8, bool),
    Unreachable(u8, u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0u8..7).prop_map(Step::Start),
        2 => any::<u8>().prop_map(Step::Stop),
        6 => (1u16..2500).prop_map(Step::Pass),
        6 => any::<u8>().prop_map(Step::Close),
        6 => any::<u8>().prop_map(Step::Publish),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::ForgedPublish(a, b)),
        2 => any::<u8>().prop_map(Step::Complete),
        1 => (0u8..4).prop_map(Step::NewClient),
        2 => (0u8..4).prop_map(Step::Watch),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(a, b)| Step::Leave(a, b)),
        1 => (0u8..4, any::<u8>()).prop_map(|(a, b)| Step::Unreachable(a, b)),
        1 => Just(Step::Restart),
    ]
}

/// What was seen before, to be compared with.
#[derive(Default)]
struct Before {
    epoch: Epoch,
    home_epochs: Vec<Epoch>,
    lost: BTreeSet<NodeId>,
    clients: BTreeSet<ClientId>,
    orders: BTreeSet<OrderId>,
    highest_order: u64,
}

impl Before {
    fn check(&mut self, world: &World) {
        let state = world.it.state();
        let map = &state.map;
        assert!(map.epoch >= self.epoch, "epochs only grow");
        self.epoch = map.epoch;
        for (home, before) in map.homes.iter().zip(&self.home_epochs) {
            assert!(home.epoch >= *before);
        }
        self.home_epochs = map.homes.iter().map(|home| home.epoch).collect();
        if state.is_formed() {
            assert_eq!(map.defect(), None);
        }
        let lost: BTreeSet<_> = map.nodes.iter().filter(|n| !n.is_up()).map(|n| n.id).collect();
        assert!(lost.is_superset(&self.lost), "who is lost never comes back");
        self.lost = lost;
        let mut segments = BTreeSet::new();
        let targets = state.orders.iter().filter_map(|entry| match &entry.order.task {
            Task::Restore { target, .. } => Some(target),
            _ => None,
        });
        for member in map.homes.iter().flat_map(|home| &home.members).chain(targets) {
            assert!(segments.insert((member.node, member.segment)), "a segment is used once");
            assert!(member.segment < state.capacity(member.node), "and it is there");
        }
        for home in &map.homes {
            assert!(!home.is_open || !home.members.is_empty(), "an open home has members");
        }
        let frozen = state.orders.iter().filter(|e| e.is_restore() && e.closing.is_some()).count();
        let changes = state.orders.iter().filter(|e| e.is_change_of_view()).count();
        assert!(frozen <= 1 && changes <= 1 && frozen + changes <= 1, "one closes at a time");
        let orders: BTreeSet<_> = state.orders.iter().map(|entry| entry.order.id).collect();
        assert_eq!(orders.len(), state.orders.len());
        for new in orders.difference(&self.orders) {
            assert!(new.0 > self.highest_order, "an order's id is never given again");
            self.highest_order = new.0;
        }
        self.orders = orders;
        assert!(state.clients.keys().all(|client| client.0 < state.next_client));
    }
}

fn nth<T: Copy>(all: &[T], n: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(n) % all.len()])
}

fn carry_out(world: &mut World, before: &mut Before, step: &Step) {
    let now = world.now;
    let process = |p: u8| ProcessId(1 + u64::from(p) + 100 * now.0 / (20 * LEASE));
    let entries = world.it.state().orders.clone();
    let owned: Vec<_> = entries.iter().filter_map(|e| Some((e.agent?, e.order.id, e.closing))).collect();
    match *step {
        Step::Start(host) if world.it.state().map.nodes.len() < 40 => {
            let address = format!("host-{host}:1");
            let nodes = world.it.state().map.nodes.clone();
            world.there.retain(|(n, _)| nodes[usize::from(n.0)].address != address);
            world.start(&address);
        }
        Step::Stop(n) if !world.there.is_empty() => {
            let at = usize::from(n) % world.there.len();
            world.there.remove(at);
        }
        Step::Pass(ms) => world.pass(u64::from(ms) * MS),
        Step::Close(n) => {
            if let Some((agent, id, _)) = nth(&owned, n) {
                let _ = world.it.close(now, agent, &[id]);
            }
        }
        Step::Publish(n) => {
            let closed: Vec<_> = owned.iter().filter_map(|(a, id, c)| Some((*a, *id, (*c)?))).collect();
            if let Some((agent, id, epoch)) = nth(&closed, n) {
                let homes_before = world.it.state().map.homes.clone();
                if world.it.publish(agent, &[id], epoch).is_ok() {
                    let map = &world.it.state().map;
                    let opened = map.homes.iter().zip(&homes_before).filter(|(a, b)| a.is_open && !b.is_open);
                    for (home, _) in opened {
                        assert!(home.members.iter().all(|m| map.nodes[usize::from(m.node.0)].is_up()));
                        assert_eq!(home.epoch, epoch);
                    }
                }
            }
        }
        Step::ForgedPublish(n, by) => {
            if let Some((agent, id, closing)) = nth(&owned, n) {
                let forged = [(NodeId(by.into()), closing.unwrap_or_default()), (agent, Epoch(by.into()))];
                for (by, epoch) in forged {
                    if (by, Some(epoch)) != (agent, closing) {
                        assert!(world.it.publish(by, &[id], epoch).is_err());
                    }
                }
            }
        }
        Step::Complete(n) => {
            if let Some((agent, id, _)) = nth(&owned, n) {
                let _ = world.it.completed(agent, id);
            }
        }
        Step::NewClient(p) => {
            if let Ok(client) = world.it.new_client(now, process(p)) {
                assert!(before.clients.insert(client), "a client's id is never given again");
            }
        }
        Step::Watch(p) => drop(world.it.watch(now, process(p), "any")),
        Step::Leave(n, is_clean) => {
            let clients: Vec<_> = world.it.state().clients.clone().into_iter().collect();
            if let Some((client, process)) = nth(&clients, n) {
                let _ = world.it.leave_client(process, client, is_clean);
            }
        }
        Step::Unreachable(p, n) => {
            drop(world.it.unreachable(now, process(p), NodeId(u16::from(n) % 8), u64::from(n)))
        }
        Step::Restart => world.restart(),
        Step::Start(_) | Step::Stop(_) => {}
    }
}

/// With nobody lost any more and agents that work, the cluster becomes whole, or says why it cannot.
fn converges(world: &mut World) {
    world.pass(4 * LEASE);
    // A home that waits for a silent node is not restored meanwhile.
    let waits = |world: &World, entry: &OrderEntry| match entry.order.task {
        Task::Restore { home, .. } => entry.closing.is_none() && !world.home(home.0).is_open,
        _ => false,
    };
    for _ in 0..500 {
        let entries = world.it.state().orders.clone();
        let mut urgent = entries.iter().filter(|e| e.is_change_of_view() || e.closing.is_some());
        let Some(entry) = urgent.next().or(entries.iter().find(|e| !waits(world, e))) else { break };
        let agent = entry.agent.expect("there are nodes to do it");
        let id = entry.order.id;
        match entry.order.task {
            Task::RecoverClient { .. } => world.it.completed(agent, id).unwrap(),
            _ => {
                let (epoch, _) = world.it.close(world.now, agent, &[id]).unwrap();
                world.it.publish(agent, &[id], epoch).unwrap();
            }
        }
        world.pass(LEASE / 8);
    }
    let state = world.it.state();
    assert!(state.orders.iter().all(|entry| waits(world, entry)), "{:?}", state.orders);
    let remarks = world.it.status(world.now, "").stuck;
    for home in &state.map.homes {
        let is_whole = home.is_open && state.map.missing(home) == 0;
        assert!(is_whole || remarks.iter().any(|(id, _)| *id == home.id), "{home:?}: {remarks:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(nodes in 1u16..6, copies in 1u8..4, steps in prop::collection::vec(step(), 1..120)) {
        let nodes = nodes.max(copies.into());
        let mut world = World::new(settings(nodes, copies));
        let mut before = Before::default();
        for host in 0..nodes {
            world.start(&format!("host-{host}:1"));
            before.check(&world);
        }
        for step in &steps {
            carry_out(&mut world, &mut before, step);
            before.check(&world);
            world.tick();
            before.check(&world);
        }
        if !world.there.is_empty() {
            converges(&mut world);
            before.check(&world);
        }
    }
}
