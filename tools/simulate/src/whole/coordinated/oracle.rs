//! Invariants of `docs/protocols/membership.md` and `view-change.md`, looked at whenever the coordinator is about to open homes.

use super::cluster::Cluster;
use farrow_control::coordination::{Ask, OrderId, Task, Tell};
use farrow_control::map::{ClusterMap, HomeEntry};
use farrow_coordinator::{Coordinator, OrderEntry};
use farrow_layout::{ExtentState, ExtentWord, NodeId, RemoteAddr, SlotAddr, SlotIndex};

/// Before a request is carried out: remembers nothing, but looks at what a publication would open, while that is still an order.
pub(super) fn before(cluster: &Cluster, core: &Coordinator, ask: &Ask) {
    if let Ask::Completed { agent, order } = ask {
        let own = |entry: &&OrderEntry| entry.order.id == *order && entry.agent == Some(*agent);
        if let Some(Task::RecoverClient { client }) =
            core.state().orders.iter().find(own).map(|entry| &entry.order.task)
        {
            let of = match core.state().clients.contains_key(client) {
                true => &cluster.office.recovered,
                false => &cluster.office.orphans,
            };
            of.set(of.get() + 1);
        }
    }
    if let Ask::Publish { agent, orders, epoch } = ask {
        let mut core = core.state().clone();
        let is_valid = |id: &OrderId| {
            core.orders.iter().any(|entry| {
                entry.order.id == *id && entry.agent == Some(*agent) && entry.closing == Some(*epoch)
            })
        };
        if !orders.iter().all(is_valid) {
            return;
        }
        for entry in core.orders.split_off(0).iter().filter(|entry| orders.contains(&entry.order.id)) {
            match &entry.order.task {
                Task::ChangeView { homes, deposed } => {
                    deposed.iter().for_each(|node| assert_over(cluster, &core.map, *node));
                    for home in homes {
                        assert_alike(cluster, &core.map, &core.map.homes[usize::from(home.0)]);
                    }
                }
                Task::Restore { home, target, .. } => {
                    let mut home = core.map.homes[usize::from(home.0)].clone();
                    home.members.push(*target);
                    assert_alike(cluster, &core.map, &home);
                }
                Task::RecoverClient { .. } => {}
            }
        }
    }
}

/// What an answer must be.
pub(super) fn after(_: &Cluster, core: &Coordinator, ask: &Ask, tell: &Tell) {
    let map = &core.state().map;
    // M-2: a home is closed in the map before anybody is fenced on its behalf.
    if let (Ask::Close { .. }, Tell::Closed { epoch, .. }) = (ask, tell) {
        assert!(
            map.homes.iter().any(|home| !home.is_open && home.epoch == *epoch),
            "nothing is closed under {epoch}"
        );
    }
}

/// Everybody has left: every home is served by all of its members, and in the books of its primary, as in the table in its memory,
/// every extent is free or sealed.
pub(super) fn assert_accounted(cluster: &Cluster, map: &ClusterMap) {
    let plan = map.plan().expect("a map in use");
    for home in map.homes.iter().filter(|home| !home.members.is_empty()) {
        for member in &home.members {
            let life = cluster.life_of(&map.nodes[usize::from(member.node.0)]);
            let is_served = life.is_some_and(|life| life.is_leased(cluster));
            assert!(is_served && home.is_open, "{}: {} does not serve", home.id, member.node);
        }
        let primary = home.members[0];
        let life = cluster.life_of(&map.nodes[usize::from(primary.node.0)]).expect("it serves");
        let words = life.ledger.extent_words(home.id).expect("it is the primary");
        let usage = life.ledger.usage(home.id).expect("it is the primary");
        let (memory, segment) = (cluster.world.memory(primary.node), plan.segment(primary.segment));
        for (extent, word) in words.iter().enumerate() {
            let shown = ExtentWord::from_raw(memory.word(segment.extent_record(extent as u64)));
            assert!(
                shown == *word,
                "{}: extent {extent} is {word:?} in the books of {}, and its table says {shown:?}",
                home.id,
                primary.node
            );
        }
        let free = words.iter().filter(|word| word.state() == ExtentState::Free).count() as u64;
        let bytes = |extents: u64| extents * plan.geometry().extent_len;
        assert_eq!((usage.free, usage.open), (bytes(free), 0), "the books of {} do not add up", home.id);
        assert!(
            usage.sealed <= bytes(words.len() as u64 - free),
            "{}: more was appended than there is",
            home.id
        );
    }
}

/// M-6: whoever the cluster goes on without does not serve, by true time.
fn assert_over(cluster: &Cluster, map: &ClusterMap, node: NodeId) {
    let entry = &map.nodes[usize::from(node.0)];
    let serving = cluster.life_of(entry).is_some_and(|life| life.is_leased(cluster));
    assert!(!serving, "a view without {node} is about to open, and {node} serves still");
}

/// V-2: a home that opens is alike on all members that are left.
fn assert_alike(cluster: &Cluster, map: &ClusterMap, home: &HomeEntry) {
    let plan = map.plan().expect("a map in use");
    let alive = |node: NodeId| cluster.life_of(&map.nodes[usize::from(node.0)]).is_some();
    let Some(primary) = home.members.first().filter(|m| alive(m.node)) else { return };
    for member in home.members[1..].iter().filter(|m| alive(m.node)) {
        let (one, other) = (plan.segment(primary.segment), plan.segment(member.segment));
        let words = |node: NodeId, at: RemoteAddr| cluster.world.memory(node).word(at);
        for partition in 0..plan.geometry().partitions {
            for index in (0..plan.slots_per_partition()).map(SlotIndex) {
                let slot = SlotAddr { partition, index };
                let (here, there) =
                    (words(primary.node, one.slot(slot)), words(member.node, other.slot(slot)));
                assert!(
                    here == there,
                    "{} is about to open, but {slot:?} is {here:#x} on {} and {there:#x} on {}",
                    home.id,
                    primary.node,
                    member.node
                );
            }
        }
    }
}
