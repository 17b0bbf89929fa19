use super::*;
use farrow_control::coordination::Denial;

#[test]
fn lost_copies_come_back_on_a_spare() {
    let mut world = World::formed(3, 3);
    world.start("spare:1");
    world.pass(LEASE);
    world.lose(0);
    assert!(world.restores().is_empty(), "views change first");
    world.change_views();
    let restores = world.restores();
    assert_eq!(restores.len(), 3);
    assert!(restores.iter().all(|(agent, _)| *agent == NodeId(3)), "the target's node does the work");
    world.restore_all();
    assert!((0..3).all(|h| world.home(h).is_open && world.members(h)[2] == 3));
    assert!(world.it.status(world.now, "").stuck.is_empty());
    assert_eq!(world.it.status(world.now, "").counts.members_restored, 3);
}

#[test]
fn without_a_spare_they_are_spread_over_the_others() {
    let mut world = World::formed(5, 3);
    world.pass(LEASE);
    world.lose(4);
    world.change_views();
    let targets: std::collections::BTreeSet<_> = world.restores().iter().map(|(agent, _)| *agent).collect();
    assert!(targets.len() >= 3, "{targets:?}");
    world.restore_all();
    assert!((0..5).all(|h| world.members(h).len() == 3));
    // And the next one may go.
    world.lose(3);
    world.change_views();
    assert!((0..5).all(|h| world.home(h).is_open && world.members(h).len() >= 2));
}

#[test]
fn it_is_said_why_nothing_can_be_restored() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.lose(0);
    world.change_views();
    assert!(world.restores().is_empty());
    let stuck = world.it.status(world.now, "").stuck;
    assert_eq!(stuck.len(), 3);
    assert!(stuck[0].1.contains("start another node"));
}

#[test]
fn the_most_exposed_homes_come_first() {
    let mut world = World::formed(5, 3);
    world.pass(LEASE);
    world.stop(0);
    world.stop(1);
    world.pass_until_lost();
    world.change_views();
    let order = world.restores().into_iter().map(|(_, order)| match order.task {
        Task::Restore { home, .. } => world.members(home.0).len(),
        other => panic!("{other:?}"),
    });
    let order: Vec<_> = order.collect();
    assert!(order.is_sorted() && order[0] == 1, "{order:?}");
}

#[test]
fn one_freeze_at_a_time() {
    let mut world = World::formed(5, 3);
    world.pass(LEASE);
    world.lose(4);
    world.change_views();
    let [(a, first), (b, second), ..] = &world.restores()[..] else { panic!("too few") };
    let (epoch, _) = world.it.close(world.now, *a, &[first.id]).unwrap();
    assert_eq!(world.it.close(world.now, *b, &[second.id]).unwrap_err(), Denial::Busy);
    let (again, _) = world.it.close(world.now, *a, &[first.id]).unwrap();
    assert!(again > epoch, "its own may be closed again");
    assert_eq!(world.it.publish(*a, &[first.id], epoch), Err(Denial::NotYours(first.id)));
    world.it.publish(*a, &[first.id], again).unwrap();
    world.it.close(world.now, *b, &[second.id]).unwrap();
}

#[test]
fn a_loss_gives_a_freeze_up_and_the_change_of_view_opens_the_home() {
    let mut world = World::formed(5, 2);
    world.pass(LEASE);
    world.lose(4);
    world.change_views();
    let (agent, order) = world.restores()[0].clone();
    let Task::Restore { home, .. } = order.task else { panic!() };
    let (epoch, _) = world.it.close(world.now, agent, &[order.id]).unwrap();
    let victim = (0..4).find(|n| *n != agent.0 && !world.members(home.0).contains(n)).unwrap();
    world.lose(victim);
    assert!(change_of(&world.change().unwrap().1).0.contains(&home.0));
    assert_eq!(world.it.publish(agent, &[order.id], epoch), Err(Denial::NotYours(order.id)));
    assert_eq!(world.it.close(world.now, agent, &[order.id]).unwrap_err(), Denial::Busy);
    world.change_views();
    assert!(world.home(home.0).is_open);
    let again = world.it.state().order(order.id).unwrap();
    assert_eq!((again.agent, again.order.attempt), (Some(agent), order.attempt + 1));
    world.restore_all();
    assert!((0..5).all(|h| world.home(h).is_open));
}

#[test]
fn a_lost_target_is_replaced_and_what_it_closed_opens() {
    let mut world = World::formed(5, 3);
    world.pass(LEASE);
    world.lose(4);
    world.change_views();
    let (agent, order) = world.restores()[0].clone();
    let Task::Restore { home, .. } = order.task else { panic!() };
    world.it.close(world.now, agent, &[order.id]).unwrap();
    world.lose(agent.0);
    assert_eq!(world.it.state().order(order.id), None);
    world.change_views();
    assert!(world.home(home.0).is_open);
    // Three nodes have no room for all that five had.
    world.start("spare:1");
    world.restore_all();
    assert!((0..5).all(|h| world.home(h).is_open && world.members(h).len() == 3));
}
