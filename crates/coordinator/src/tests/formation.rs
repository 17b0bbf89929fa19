use super::*;
use farrow_control::coordination::Denial;

#[test]
fn a_cluster_forms_when_all_nodes_that_are_waited_for_are_there() {
    let mut world = World::new(settings(3, 3));
    world.start("a:1");
    world.start("b:1");
    world.tick();
    assert!(!world.it.state().is_formed());
    assert_eq!(world.epoch(), Epoch(0));
    let status = world.it.status(world.now, "nowhere");
    assert!(status.stuck[0].1.contains("3 nodes"), "{:?}", status.stuck);
    assert!(status.map.defect().unwrap().contains("waits for its nodes"));
    world.start("c:1");
    assert_eq!(world.epoch(), Epoch(1));
    assert_eq!(world.it.state().map.defect(), None);
    assert_eq!(world.it.state().map.homes.len(), 3);
}

#[test]
fn it_waits_for_as_many_nodes_as_copies_whatever_the_setting_says() {
    let mut world = World::new(settings(1, 3));
    world.start("a:1");
    world.start("b:1");
    assert!(!world.it.state().is_formed());
    world.start("c:1");
    assert!(world.it.state().is_formed());
}

#[test]
fn a_node_that_vanished_before_is_not_counted() {
    let mut world = World::new(settings(3, 2));
    world.start("a:1");
    world.start("b:1");
    world.lose(0);
    world.start("c:1");
    assert!(!world.it.state().is_formed());
    world.start("a:1");
    assert!(world.it.state().is_formed());
    assert_eq!(world.epoch(), Epoch(1));
    assert!(world.it.state().map.homes.iter().all(|home| !home.has_member(NodeId(0))));
}

#[test]
fn copies_are_in_different_domains_where_there_are_enough() {
    let mut world = World::new(settings(4, 2));
    for (address, rack) in [("a:1", "x"), ("b:1", "x"), ("c:1", "y"), ("d:1", "y")] {
        world.start_in(address, rack);
    }
    let map = &world.it.state().map;
    for home in &map.homes {
        let racks: Vec<_> = home.members.iter().map(|m| &map.nodes[usize::from(m.node.0)].domain).collect();
        assert_ne!(racks[0], racks[1]);
    }
    assert!(world.it.status(world.now, "").stuck.is_empty());
}

#[test]
fn too_few_domains_are_said_but_do_not_hold_it_up() {
    let mut world = World::new(settings(3, 3));
    for address in ["a:1", "b:1", "c:1"] {
        world.start_in(address, "one");
    }
    assert!(world.it.state().is_formed());
    assert!(world.it.status(world.now, "").stuck[0].1.contains("1 failure domains only"));
}

#[test]
fn the_others_have_room_for_a_lost_nodes_segments() {
    let world = World::formed(5, 3);
    let map = &world.it.state().map;
    // 5 homes with 3 members each, on 4 nodes.
    let capacity = world.it.state().capacity(NodeId(0));
    assert!(capacity >= 4, "{capacity}");
    assert!(map.homes.iter().flat_map(|h| &h.members).all(|m| m.segment < capacity));
    // With three nodes and three copies nobody could take them.
    assert_eq!(World::formed(3, 3).it.state().capacity(NodeId(0)), 3);
}

#[test]
fn a_later_node_is_a_spare_that_all_hear_of() {
    let mut world = World::formed(3, 3);
    let spare = world.start("d:1");
    assert_eq!(spare, NodeId(3));
    assert_eq!(world.epoch(), Epoch(2));
    assert!(world.it.state().map.homes.iter().all(|home| !home.has_member(spare)));
}

#[test]
fn a_node_that_registers_again_gets_the_id_that_it_has() {
    let mut world = World::formed(3, 3);
    let (_, incarnation) = world.there[1];
    assert_eq!(world.it.register(world.now, &offer("host-1:7400", "host-1", incarnation)), Ok(NodeId(1)));
    assert_eq!(world.epoch(), Epoch(1));
}

#[test]
fn a_spare_without_room_for_a_segment_is_refused() {
    let mut world = World::formed(3, 3);
    let tiny = Registration { memory_len: 4096, ..offer("d:1", "d", Incarnation(9)) };
    assert!(
        matches!(world.it.register(world.now, &tiny), Err(Denial::Bad(why)) if why.contains("no segment"))
    );
}
