//! Invariants of `docs/protocols/membership.md` and `view-change.md`, looked at whenever the coordinator is about to open homes.

use super::cluster::Cluster;
use farrow_control::coordination::{Ask, OrderId, Task, Tell};
use farrow_control::map::{ClusterMap, HomeEntry};
use farrow_coordinator::{Coordinator, OrderEntry, State};
use farrow_layout::{Epoch, ExtentState, ExtentWord, NodeId, RemoteAddr, SlotAddr, SlotIndex};

/// Before a request is carried out: why a publication must be refused, if it must. Looked at while it is still an order.
pub(super) fn before(cluster: &Cluster, core: &Coordinator, ask: &Ask) -> Option<String> {
    let state = core.state();
    if let Ask::Completed { agent, order } = ask {
        count_recovery(cluster, state, *agent, *order);
    }
    let Ask::Publish { agent, orders, epoch } = ask else { return None };
    orders.iter().find_map(|id| publication(cluster, state, *agent, *id, *epoch).err())
}

/// Counts clients that were cleaned up behind.
fn count_recovery(cluster: &Cluster, state: &State, agent: NodeId, order: OrderId) {
    let own = |entry: &&OrderEntry| entry.order.id == order && entry.agent == Some(agent);
    if let Some(Task::RecoverClient { client }) = state.orders.iter().find(own).map(|entry| &entry.order.task)
    {
        let of = match state.clients.contains_key(client) {
            true => &cluster.office.recovered,
            false => &cluster.office.orphans,
        };
        of.set(of.get() + 1);
    }
}

fn publication(
    cluster: &Cluster,
    state: &State,
    agent: NodeId,
    id: OrderId,
    epoch: Epoch,
) -> Result<(), String> {
    let Some(entry) = state.orders.iter().find(|entry| entry.order.id == id) else { return Ok(()) };
    // M-7: by whoever has the order, under the epoch in which it has closed.
    if (entry.agent, entry.closing) != (Some(agent), Some(epoch)) {
        return Err(format!("{agent} publishes {entry:?} of {epoch}"));
    }
    match &entry.order.task {
        Task::ChangeView { homes, deposed } => {
            deposed.iter().try_for_each(|node| is_over(cluster, &state.map, *node))?;
            let homes = homes.iter().map(|home| &state.map.homes[usize::from(home.0)]);
            homes.into_iter().try_for_each(|home| is_alike(cluster, &state.map, home))
        }
        Task::Restore { home, target, .. } => {
            let mut home = state.map.homes[usize::from(home.0)].clone();
            home.members.push(*target);
            is_alike(cluster, &state.map, &home)
        }
        Task::RecoverClient { .. } => Ok(()),
    }
}

/// What an answer must be.
pub(super) fn after(core: &Coordinator, ask: &Ask, tell: &Tell, objection: Option<String>) {
    let map = &core.state().map;
    // M-2: a home is closed in the map before anybody is fenced on its behalf.
    if let (Ask::Close { .. }, Tell::Closed { epoch, .. }) = (ask, tell) {
        assert!(
            map.homes.iter().any(|home| !home.is_open && home.epoch == *epoch),
            "nothing is closed under {epoch}"
        );
    }
    if let (Tell::Done, Some(why)) = (tell, objection) {
        panic!("{why}");
    }
}

/// Everybody has left: every home is served by all of its members, and in the books of its primary, as in the table in its memory,
/// every extent is free or sealed.
pub(super) fn assert_accounted(cluster: &Cluster, map: &ClusterMap) {
    let plan = map.plan().expect("a map in use");
    for home in map.homes.iter().filter(|home| !home.members.is_empty()) {
        for member in &home.members {
            let is_served = cluster.serves(&map.nodes[usize::from(member.node.0)]);
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
fn is_over(cluster: &Cluster, map: &ClusterMap, node: NodeId) -> Result<(), String> {
    let entry = &map.nodes[usize::from(node.0)];
    match cluster.serves(entry) {
        true => Err(format!("a view without {node} is about to open, and {node} serves still")),
        false => Ok(()),
    }
}

/// V-2: a home that opens is alike on all members that are left.
fn is_alike(cluster: &Cluster, map: &ClusterMap, home: &HomeEntry) -> Result<(), String> {
    let plan = map.plan().expect("a map in use");
    let alive = |node: NodeId| cluster.life_of(&map.nodes[usize::from(node.0)]).is_some();
    let Some(primary) = home.members.first().filter(|m| alive(m.node)) else { return Ok(()) };
    for member in home.members[1..].iter().filter(|m| alive(m.node)) {
        let (one, other) = (plan.segment(primary.segment), plan.segment(member.segment));
        let words = |node: NodeId, at: RemoteAddr| cluster.world.memory(node).word(at);
        for partition in 0..plan.geometry().partitions {
            for index in (0..plan.slots_per_partition()).map(SlotIndex) {
                let slot = SlotAddr { partition, index };
                let (here, there) =
                    (words(primary.node, one.slot(slot)), words(member.node, other.slot(slot)));
                if here != there {
                    let (id, first, second) = (home.id, primary.node, member.node);
                    return Err(format!(
                        "{id} is about to open, but {slot:?} is {here:#x} on {first} and {there:#x} on {second}"
                    ));
                }
            }
        }
    }
    Ok(())
}
