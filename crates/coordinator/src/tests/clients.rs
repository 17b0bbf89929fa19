use super::*;
use farrow_control::coordination::Denial;
use farrow_layout::ClientId;

pub(super) fn recoveries(world: &World) -> Vec<(NodeId, Order)> {
    let entries = world.it.state().orders.iter();
    let entries = entries.filter(|entry| matches!(entry.order.task, Task::RecoverClient { .. }));
    entries.map(|entry| (entry.agent.unwrap(), entry.order.clone())).collect()
}

#[test]
fn ids_are_never_given_twice_not_even_after_a_restart() {
    let mut world = World::formed(3, 3);
    let first = world.it.new_client(world.now, P).unwrap();
    let second = world.it.new_client(world.now, Q).unwrap();
    world.it.leave_client(Q, second, true).unwrap();
    world.restart();
    let third = world.it.new_client(world.now, Q).unwrap();
    assert_eq!([first, second, third], [ClientId(1), ClientId(2), ClientId(3)]);
}

#[test]
fn a_lost_process_has_each_of_its_clients_cleaned_up_behind() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.it.watch(world.now, P, "test").unwrap();
    let clients = [0, 1].map(|_| world.it.new_client(world.now, P).unwrap());
    world.pass_until_lost();
    assert_eq!(world.it.watch(world.now, P, "test"), Err(Denial::ProcessLost(P)));
    assert_eq!(world.it.new_client(world.now, P), Err(Denial::ProcessLost(P)));
    let orders = recoveries(&world);
    assert_eq!(orders.len(), 2);
    assert_ne!(orders[0].0, orders[1].0, "the work is spread");
    assert_eq!(world.it.state().clients.len(), 2);
    for (agent, order) in orders {
        assert_eq!(world.it.completed(NodeId((agent.0 + 1) % 3), order.id), Err(Denial::NotYours(order.id)));
        world.it.completed(agent, order.id).unwrap();
    }
    assert!(clients.iter().all(|client| !world.it.state().clients.contains_key(client)));
    world.pass(LEASE);
    assert!(recoveries(&world).is_empty());
}

#[test]
fn a_process_that_watches_is_not_lost_and_one_without_clients_is_forgotten() {
    let mut world = World::formed(3, 3);
    world.it.watch(world.now, Q, "without clients").unwrap();
    world.it.new_client(world.now, P).unwrap();
    for _ in 0..40 {
        world.it.watch(world.now, P, "test").unwrap();
        world.pass(LEASE / 4);
    }
    assert!(recoveries(&world).is_empty());
    let processes = world.it.status(world.now, "").processes;
    assert_eq!(processes.iter().map(|p| p.process).collect::<Vec<_>>(), [P]);
    assert_eq!(world.it.watch(world.now, Q, "again"), Ok(()));
}

#[test]
fn a_client_that_left_something_open_is_cleaned_up_behind_while_its_process_lives() {
    let mut world = World::formed(3, 3);
    let client = world.it.new_client(world.now, P).unwrap();
    assert!(matches!(world.it.leave_client(Q, client, false), Err(Denial::Bad(_))));
    world.it.leave_client(P, client, false).unwrap();
    world.it.leave_client(P, client, false).unwrap();
    world.tick();
    let orders = recoveries(&world);
    assert_eq!(orders.len(), 1);
    world.it.completed(orders[0].0, orders[0].1.id).unwrap();
    assert!(world.it.state().clients.is_empty());
}

#[test]
fn clients_hear_of_maps_and_wait_while_there_is_none() {
    let mut world = World::new(settings(1, 1));
    world.it.watch(world.now, P, "test").unwrap();
    assert_eq!(world.it.news_for_process(P, Epoch(0), false), Ok(None));
    world.start("a:1");
    world.store();
    let news = world.it.news_for_process(P, Epoch(0), false).unwrap().unwrap();
    assert_eq!(news.map.unwrap().epoch, Epoch(1));
    assert_eq!(world.it.news_for_process(P, Epoch(1), false), Ok(None));
}

#[test]
fn while_the_coordinator_is_cut_off_no_process_is_lost() {
    let mut world = World::formed(3, 3);
    world.it.watch(world.now, P, "test").unwrap();
    world.it.new_client(world.now, P).unwrap();
    world.there.clear();
    world.pass(10 * LEASE);
    assert_eq!(world.it.watch(world.now, P, "test"), Ok(()));
}
