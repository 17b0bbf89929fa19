use super::*;
use farrow_control::coordination::{Decision, Denial};

#[test]
fn after_a_restart_everybody_has_a_whole_lease() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.stop(1);
    world.pass(LEASE - MS);
    world.restart();
    world.pass(LEASE * 15 / 16);
    assert!(!world.is_lost(1));
    world.pass(LEASE / 8);
    assert!(world.is_lost(1));
}

#[test]
fn an_order_survives_and_its_closing_is_published_at_the_next_coordinator() {
    let mut world = World::formed(4, 3);
    world.pass(LEASE);
    world.lose(1);
    let (agent, order) = world.change().unwrap();
    let (epoch, _) = world.it.close(world.now, agent, &[order.id]).unwrap();
    world.restart();
    world.tick();
    assert_eq!(world.change(), Some((agent, order.clone())));
    world.it.publish(agent, &[order.id], epoch).unwrap();
    assert!(world.it.state().map.homes.iter().all(|home| home.is_open));
}

#[test]
fn a_lost_process_is_still_lost_and_a_forgotten_one_gets_a_lease() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.it.new_client(world.now, P).unwrap();
    world.pass_until_lost();
    world.it.new_client(world.now, Q).unwrap();
    world.restart();
    assert_eq!(world.it.watch(world.now, P, ""), Err(Denial::ProcessLost(P)));
    world.pass(LEASE / 2);
    assert_eq!(world.it.watch(world.now, Q, ""), Ok(()));
    world.pass_until_lost();
    assert_eq!(world.it.watch(world.now, Q, ""), Err(Denial::ProcessLost(Q)));
}

#[test]
fn a_shorter_lease_counts_only_when_the_longer_ones_are_over() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.stop(1);
    let short = Settings { lease_ns: LEASE / 10, ..settings(3, 3) };
    world.it = Coordinator::resume(world.it.state().clone(), short, world.now);
    let end = world.now + LEASE;
    while world.now + LEASE / 80 < end {
        world.now = world.now + LEASE / 80;
        world.tick();
        for (node, life) in world.there.clone() {
            world.renew(node, life).unwrap();
        }
        assert!(!world.is_lost(1), "a lease from before may still run");
    }
    for _ in 0..10 {
        world.now = world.now + LEASE / 80;
        world.tick();
        for (node, life) in world.there.clone() {
            world.renew(node, life).unwrap();
        }
    }
    assert!(world.is_lost(1));
    assert_eq!(world.it.state().longest_lease_ns, LEASE / 10);
}

#[test]
fn a_node_that_renews_keeps_what_is_left_of_a_longer_lease() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    let short = Settings { lease_ns: LEASE / 10, ..settings(3, 3) };
    world.it = Coordinator::resume(world.it.state().clone(), short, world.now);
    let granted = world.now;
    let (node, life) = world.there[1];
    world.renew(node, life).unwrap();
    world.stop(1);
    while world.now + LEASE / 80 < granted + LEASE {
        world.now = world.now + LEASE / 80;
        world.tick();
        for (node, life) in world.there.clone() {
            world.renew(node, life).unwrap();
        }
        assert!(!world.is_lost(1), "it may still count on the lease from before");
    }
}

#[test]
fn renewals_alone_leave_nothing_to_store() {
    let mut world = World::formed(3, 3);
    assert!(world.it.unstored().is_some());
    world.store();
    world.pass(3 * LEASE);
    assert_eq!(world.it.unstored(), None);
    world.it.new_client(world.now, P).unwrap();
    assert!(world.it.unstored().is_some());
}

#[test]
fn a_lease_that_a_restart_has_granted_does_not_speak_for_a_node_that_is_gone() {
    let mut world = World::formed(2, 2);
    world.pass(LEASE);
    world.stop(1);
    world.restart();
    world.it.watch(world.now, P, "").unwrap();
    // Node 0 had no lease while there was no coordinator, so its clients could not reach it. It holds the last copies.
    assert_eq!(world.it.unreachable(world.now, P, NodeId(0), 0), Ok(Decision::Undecided));
    let there = world.there.clone();
    assert_eq!(world.renew(NodeId(0), there[0].1), Ok(()));
}
