use super::*;
use crate::Answer;
use crate::nodes::decide;
use farrow_control::coordination::{Ask, Tell};
use farrow_control::coordination::{Decision, Denial};

#[test]
fn a_node_is_passed_over_when_its_lease_is_over() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    let heard = world.now;
    let dead = world.stop(2);
    world.pass(LEASE * 15 / 16);
    assert!(!world.is_lost(2), "the lease is not over");
    world.pass(heard.0 + LEASE - world.now.0);
    assert!(world.is_lost(2));
    assert_eq!(world.renew(NodeId(2), dead), Err(Denial::Deposed(NodeId(2))));
    let again = world.it.register(world.now, &offer("host-2:7400", "host-2", dead));
    assert_eq!(again, Err(Denial::Deposed(NodeId(2))));
}

#[test]
fn nobody_who_renews_is_passed_over() {
    let mut world = World::formed(5, 3);
    world.pass(20 * LEASE);
    assert!((0..5).all(|n| !world.is_lost(n)));
    assert!(world.it.state().orders.is_empty());
    assert_eq!(world.epoch(), Epoch(1));
}

#[test]
fn the_last_copy_is_waited_for() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    let lives: Vec<_> = world.there.clone();
    world.there.clear();
    world.pass(30 * LEASE);
    assert!((0..3).all(|n| !world.is_lost(n)), "nobody could go on without them");
    assert!(world.it.status(world.now, "").stuck[0].1.contains("waited for"));
    // It was the coordinator that was cut off. They come back one after the other.
    for life in lives {
        world.there.push(life);
        world.pass(LEASE / 2);
    }
    world.pass(2 * LEASE);
    assert!((0..3).all(|n| !world.is_lost(n)));
    assert_eq!(world.epoch(), Epoch(1));
}

#[test]
fn a_coordinator_that_was_stopped_blames_nobody() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.now = world.now + 10 * LEASE;
    world.tick();
    assert!((0..3).all(|n| !world.is_lost(n)));
    world.lose(1);
    assert!(world.is_lost(1), "they have a lease, and no more");
}

#[test]
fn f_nodes_at_once_are_passed_over() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.stop(0);
    world.stop(1);
    world.pass_until_lost();
    assert!(world.is_lost(0) && world.is_lost(1));
    world.change_views();
    assert!((0..3).all(|h| world.members(h) == [2] && world.home(h).is_open));
}

#[test]
fn another_life_at_the_same_address_is_another_node_and_the_old_lease_runs_out() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    let old = world.stop(0);
    let new = world.start("host-0:7400");
    assert_eq!(new, NodeId(3));
    world.tick();
    assert!(!world.is_lost(0), "its lease still runs");
    assert_eq!(world.renew(NodeId(0), old), Err(Denial::Deposed(NodeId(0))));
    world.pass_until_lost();
    assert!(world.is_lost(0));
    assert!(!world.is_lost(3));
}

#[test]
fn a_home_whose_nodes_are_gone_for_certain_stays_closed_without_members() {
    let mut world = World::formed(2, 1);
    world.pass(LEASE);
    world.stop(0);
    world.pass(3 * LEASE);
    assert!(!world.is_lost(0), "its memory may be there yet");
    world.start("host-0:7400");
    world.pass_until_lost();
    assert!(world.is_lost(0));
    assert!(world.members(0).is_empty() && !world.home(0).is_open);
    assert_eq!(world.change(), None);
    assert_eq!(world.members(1), [1]);
    assert_eq!(world.it.state().map.defect(), None);
}

#[test]
fn the_decision_table() {
    use Decision::*;
    for (has_lease, reporters, processes, can_be_spared, was_heard_since, expected) in [
        (false, 1, 9, false, false, Deposing),
        (true, 5, 9, true, true, Deposing),
        (true, 5, 9, true, false, Deposing),
        (true, 5, 9, false, true, YourWay),
        (true, 4, 9, true, true, YourWay),
        (true, 4, 8, true, true, YourWay),
        (true, 4, 8, true, false, Undecided),
        (true, 5, 9, false, false, Undecided),
        (true, 1, 1, true, true, Deposing),
    ] {
        let decision = decide(has_lease, reporters, processes, can_be_spared, was_heard_since);
        assert_eq!(decision, expected);
    }
}

#[test]
fn a_node_that_most_clients_cannot_reach_is_deposed_when_its_lease_is_over() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    for p in [P, Q, ProcessId(79)] {
        world.it.watch(world.now, p, "test").unwrap();
    }
    assert_eq!(world.it.unreachable(world.now, P, NodeId(1), 0), Ok(Decision::Undecided));
    let again = world.it.unreachable(world.now, P, NodeId(1), 0);
    assert_eq!(again, Ok(Decision::Undecided), "one voice, said twice");
    world.pass(LEASE / 2);
    let heard = world.it.unreachable(world.now, P, NodeId(1), LEASE / 2);
    assert_eq!(heard, Ok(Decision::YourWay), "the node has renewed since");
    assert_eq!(world.it.unreachable(world.now, Q, NodeId(1), 0), Ok(Decision::Deposing));
    let life = world.there[1].1;
    assert_eq!(world.renew(NodeId(1), life), Err(Denial::Deposed(NodeId(1))));
    assert!(!world.is_lost(1), "its lease runs out first");
    world.pass_until_lost();
    assert!(world.is_lost(1));
}

#[test]
fn a_node_that_a_home_needs_for_its_floor_is_not_deposed() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.lose(2);
    world.it.watch(world.now, P, "test").unwrap();
    assert_eq!(world.it.unreachable(world.now, P, NodeId(1), 0), Ok(Decision::Undecided));
    assert_eq!(world.it.unreachable(world.now, P, NodeId(2), 0), Ok(Decision::Deposing));
}

#[test]
fn a_decision_is_taken_back_when_the_others_were_lost_before_the_node_heard_of_it() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.it.watch(world.now, P, "test").unwrap();
    assert_eq!(world.it.unreachable(world.now, P, NodeId(0), 0), Ok(Decision::Deposing));
    let (_, life) = world.there[0];
    world.now = world.now + LEASE;
    world.it.heard.insert(NodeId(2), world.now);
    assert_eq!(world.renew(NodeId(0), life), Ok(()), "only n2 is left besides");
}

#[test]
fn an_operator_may_say_that_a_silent_node_is_gone_for_good() {
    let mut world = World::formed(5, 2);
    world.pass(LEASE);
    // Home 0 is on n0 and n1; others have one member among them.
    assert_eq!(world.members(0), [0, 1]);
    world.stop(0);
    world.stop(1);
    world.pass(5 * LEASE);
    assert!(!world.is_lost(0) && !world.is_lost(1));
    assert!(
        matches!(world.it.forget(world.now, NodeId(2)), Err(Denial::Bad(why)) if why.contains("stop it first"))
    );
    world.it.forget(world.now, NodeId(1)).unwrap();
    world.tick();
    assert!(world.is_lost(1) && !world.is_lost(0), "the other one may come back yet");
    world.it.forget(world.now, NodeId(0)).unwrap();
    world.tick();
    assert!(world.members(0).is_empty());
    world.change_views();
    assert!((1..5).all(|h| world.home(h).is_open && !world.members(h).contains(&0)));
}

#[test]
fn a_node_that_has_just_died_is_nobodys_broken_way() {
    let mut world = World::formed(4, 3);
    world.pass(LEASE);
    for p in [P, Q, ProcessId(79)] {
        world.it.watch(world.now, p, "test").unwrap();
    }
    // For a moment it could not be reached before, and then it could.
    assert_eq!(world.it.unreachable(world.now, P, NodeId(1), 0), Ok(Decision::Undecided));
    world.pass(LEASE / 4);
    world.stop(1);
    let first = world.now;
    while !world.is_lost(1) {
        let for_ns = world.now.since(first);
        let decision = world.it.unreachable(world.now, P, NodeId(1), for_ns).unwrap();
        assert_ne!(decision, Decision::YourWay, "a client would give up");
        world.pass(LEASE / 16);
    }
}

#[test]
fn a_lease_that_a_restart_grants_does_not_make_it_a_clients_own_way() {
    let mut world = World::formed(4, 3);
    world.pass(LEASE);
    world.stop(1);
    world.it.watch(world.now, P, "test").unwrap();
    world.restart();
    world.pass(LEASE / 8);
    assert_eq!(world.it.unreachable(world.now, P, NodeId(1), LEASE / 2), Ok(Decision::Undecided));
}

#[test]
fn what_a_stopped_coordinator_finds_in_its_mail_does_not_speak_for_a_node_that_is_gone() {
    let mut world = World::formed(2, 2);
    world.pass(LEASE);
    world.it.watch(world.now, P, "").unwrap();
    let late = Ask::Renew(renewal(NodeId(1), world.stop(1), Vec::new()));
    world.now = world.now + 4 * LEASE;
    world.it.answer(world.now, &late, "");
    let lost = Ask::Unreachable { process: P, node: NodeId(0), for_ns: 0, why: String::new() };
    let decided = world.it.answer(world.now, &lost, "");
    assert_eq!(decided, Answer::Now(Tell::Decided(Decision::Undecided)));
    assert_eq!(world.renew(NodeId(0), world.there[0].1), Ok(()));
}
