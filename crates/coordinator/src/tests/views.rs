use super::*;
use crate::Wait;
use farrow_control::coordination::{Denial, News, Tell};

#[test]
fn a_lost_node_is_removed_from_all_its_homes_by_one_order() {
    let mut world = World::formed(5, 3);
    world.pass(LEASE);
    world.lose(1);
    let (agent, order) = world.change().unwrap();
    let (homes, deposed) = change_of(&order);
    assert_eq!(deposed, [1]);
    assert!(homes.iter().all(|&h| world.members(h).contains(&1) && world.home(h).is_open));
    assert_ne!(agent, NodeId(1));
    let before = world.epoch();
    let (epoch, map) = world.it.close(world.now, agent, &[order.id]).unwrap();
    assert_eq!(epoch.0, before.0 + 1);
    assert_eq!(map.epoch, epoch);
    for &h in &homes {
        assert_eq!((world.home(h).is_open, world.home(h).epoch), (false, epoch));
        assert!(!world.members(h).contains(&1) && world.members(h).len() == 2);
    }
    world.it.publish(agent, &[order.id], epoch).unwrap();
    assert!(homes.iter().all(|&h| world.home(h).is_open && world.home(h).epoch == epoch));
    assert_eq!(world.epoch().0, epoch.0 + 1);
    assert_eq!(world.it.publish(agent, &[order.id], epoch), Err(Denial::NotYours(order.id)));
}

#[test]
fn a_loss_during_a_change_makes_another_order_of_it_that_names_both() {
    let mut world = World::formed(5, 3);
    world.pass(LEASE);
    world.lose(1);
    let (agent, order) = world.change().unwrap();
    let (epoch, _) = world.it.close(world.now, agent, &[order.id]).unwrap();
    let other = (0..5).find(|&n| n != 1 && n != agent.0).unwrap();
    world.lose(other);
    let (_, second) = world.change().unwrap();
    assert_ne!(second.id, order.id);
    let mut both = [1, other];
    both.sort_unstable();
    assert_eq!(change_of(&second).1, both);
    assert_eq!(world.it.publish(agent, &[order.id], epoch), Err(Denial::NotYours(order.id)));
    assert_eq!(world.it.close(world.now, agent, &[order.id]).unwrap_err(), Denial::NotYours(order.id));
    world.change_views();
    assert!((0..5).all(|h| world.home(h).is_open && !world.members(h).contains(&1)));
}

#[test]
fn an_agent_that_dies_is_replaced_under_another_attempt() {
    let mut world = World::formed(5, 3);
    world.pass(LEASE);
    world.lose(1);
    let (agent, order) = world.change().unwrap();
    let (epoch, _) = world.it.close(world.now, agent, &[order.id]).unwrap();
    world.stop(agent.0);
    // Silent, but its lease is not over: the agent is not passed over yet.
    world.pass(LEASE * 15 / 16);
    let (second, again) = world.change().unwrap();
    assert_ne!(second, agent);
    assert_eq!((again.id, again.attempt), (order.id, order.attempt + 1));
    assert_eq!(world.it.publish(agent, &[order.id], epoch), Err(Denial::NotYours(order.id)));
    assert_eq!(
        world.it.publish(second, &[order.id], epoch),
        Err(Denial::NotYours(order.id)),
        "it closes anew"
    );
    let (later, _) = world.it.close(world.now, second, &[order.id]).unwrap();
    assert!(later > epoch);
}

#[test]
fn an_agent_that_is_alive_and_never_opens_what_it_closed_is_relieved() {
    let mut world = World::formed(4, 3);
    world.pass(LEASE);
    world.lose(1);
    let (agent, order) = world.change().unwrap();
    world.it.close(world.now, agent, &[order.id]).unwrap();
    world.pass(63 * LEASE);
    assert_eq!(world.change().unwrap().1.attempt, 1);
    world.pass(2 * LEASE);
    assert_eq!(world.change().unwrap().1.attempt, 2);
}

#[test]
fn a_node_is_told_of_its_orders_once_and_of_maps_that_it_has_not() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.store();
    assert_eq!(world.it.news_for_node(NodeId(0), Epoch(1), false), Ok(None));
    let first = world.it.news_for_node(NodeId(0), Epoch(0), false).unwrap().unwrap();
    assert_eq!(first.map.unwrap().epoch, Epoch(1));
    world.lose(2);
    world.store();
    let (agent, order) = world.change().unwrap();
    let epoch = world.epoch();
    let news = world.it.news_for_node(agent, epoch, false).unwrap().unwrap();
    assert_eq!((news.map, news.orders), (None, vec![order.clone()]));
    assert_eq!(world.it.news_for_node(agent, epoch, false), Ok(None), "it was told");
    assert_eq!(world.it.news_for_node(agent, epoch, true).unwrap().unwrap().orders, [order]);
    assert_eq!(world.it.news_for_node(NodeId(2), epoch, true), Err(Denial::Deposed(NodeId(2))));
    world.change_views();
    world.store();
    let news = world.it.news_for_node(agent, epoch, false).unwrap().unwrap();
    assert!(news.orders.is_empty() && news.map.is_some());
}

#[test]
fn whoever_waits_hears_of_what_is_stored_and_never_waits_for_the_store() {
    let mut world = World::formed(3, 3);
    world.pass(LEASE);
    world.store();
    let wait = |node| Wait::Node(NodeId(node), Epoch(1));
    let nothing_new = Some(Tell::News(Box::new(News { map: None, orders: vec![] })));
    assert_eq!(world.it.poll(&wait(0), true), nothing_new);
    world.lose(2);
    let (agent, order) = world.change().unwrap();
    world.it.close(world.now, agent, &[order.id]).unwrap();
    let (version, state) = (world.it.version(), world.it.state().clone());
    world.change_views();
    for node in [0, 1, 2] {
        assert_eq!(world.it.poll(&wait(node), false), None);
        assert_eq!(world.it.poll(&wait(node), true), nothing_new);
    }
    world.it.stored(version, state.clone());
    let Some(Tell::News(news)) = world.it.poll(&wait(agent.0), false) else { panic!() };
    assert_eq!((news.map, news.orders.len()), (Some(state.map), 1), "it has been published since");
    assert!(world.it.unstored().is_some());
    world.store();
    let Some(Tell::News(news)) = world.it.poll(&wait(agent.0), false) else { panic!() };
    assert_eq!((news.map.map(|map| map.epoch), news.orders.len()), (Some(world.epoch()), 0));
    assert_eq!(world.it.poll(&wait(2), false), Some(Tell::Denied(Denial::Deposed(NodeId(2)))));
}
