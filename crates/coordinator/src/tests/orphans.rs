use super::clients::recoveries;
use super::*;

impl World {
    /// A client that has left, as it says with nothing open.
    fn left(&mut self) -> ClientId {
        let client = self.it.new_client(self.now, P).unwrap();
        self.it.leave_client(P, client, true).unwrap();
        client
    }

    fn name(&mut self, node: u16, owners: &[ClientId]) {
        self.orphans.insert(NodeId(node), owners.to_vec());
    }

    /// Time passes, and a process watches meanwhile.
    fn pass_watched(&mut self, ns: u64) {
        for _ in 0..ns / (LEASE / 8) {
            self.it.watch(self.now, P, "test").unwrap();
            self.pass(LEASE / 8);
        }
    }
}

fn cleaned_up_behind(world: &World) -> Vec<ClientId> {
    let of = |order: Order| match order.task {
        Task::RecoverClient { client } => client,
        other => panic!("{other:?}"),
    };
    recoveries(world).into_iter().map(|(_, order)| of(order)).collect()
}

#[test]
fn whoever_is_nobodys_and_has_something_open_for_a_lease_is_cleaned_up_behind_once() {
    let mut world = World::formed(3, 3);
    let gone = world.left();
    world.name(0, &[gone]);
    world.pass(LEASE - LEASE / 8);
    assert_eq!(cleaned_up_behind(&world), []);
    world.pass(LEASE / 4);
    assert_eq!(cleaned_up_behind(&world), [gone]);
    world.pass(4 * LEASE);
    let orders = recoveries(&world);
    assert_eq!(orders.len(), 1, "one order, however long it takes");
    world.it.completed(orders[0].0, orders[0].1.id).unwrap();
    world.name(0, &[]);
    world.pass(4 * LEASE);
    assert_eq!(cleaned_up_behind(&world), []);
}

#[test]
fn a_name_from_before_the_recovery_ended_orders_no_other() {
    let mut world = World::formed(3, 3);
    let gone = world.left();
    world.name(0, &[gone]);
    world.pass(2 * LEASE);
    let (agent, order) = recoveries(&world).remove(0);
    world.it.completed(agent, order.id).unwrap();
    // One more renewal that was sent before the primary sealed.
    world.pass(LEASE / 8);
    world.name(0, &[]);
    world.pass(4 * LEASE);
    assert_eq!(cleaned_up_behind(&world), []);
}

#[test]
fn a_client_that_lives_is_no_orphan_whether_or_not_it_has_joined_anywhere() {
    let mut world = World::formed(3, 3);
    let client = world.it.new_client(world.now, P).unwrap();
    world.name(0, &[client]);
    world.name(1, &[client]);
    world.pass_watched(10 * LEASE);
    assert_eq!(cleaned_up_behind(&world), []);
    // It leaves; what it was sealing arrives behind that.
    world.it.leave_client(P, client, true).unwrap();
    world.pass_watched(LEASE / 2);
    world.name(0, &[]);
    world.name(1, &[]);
    world.pass_watched(4 * LEASE);
    assert_eq!(cleaned_up_behind(&world), []);
}

#[test]
fn naming_counts_from_anew_when_it_was_interrupted_or_the_coordinator_was() {
    let mut world = World::formed(3, 3);
    let gone = world.left();
    for _ in 0..4 {
        world.name(0, &[gone]);
        world.pass(LEASE / 2);
        world.name(0, &[]);
        world.pass(LEASE / 4);
    }
    world.name(0, &[gone]);
    world.pass(LEASE - LEASE / 8);
    world.store();
    world.restart();
    world.pass(LEASE - LEASE / 8);
    assert_eq!(cleaned_up_behind(&world), []);
    world.pass(LEASE);
    assert_eq!(cleaned_up_behind(&world), [gone], "it is named again, and that is enough");
}

#[test]
fn ids_that_were_never_given_and_agents_are_no_orphans() {
    let mut world = World::formed(3, 3);
    let gone = world.left();
    let never = [ClientId(0), ClientId(gone.0 + 1), ClientId(0xFFF0_0003), ClientId(u32::MAX)];
    world.name(2, &never);
    world.pass(10 * LEASE);
    assert_eq!(cleaned_up_behind(&world), []);
}

#[test]
fn what_a_node_that_is_passed_over_has_named_is_forgotten() {
    let mut world = World::formed(3, 3);
    let gone = world.left();
    world.name(1, &[gone]);
    world.pass(LEASE / 2);
    world.lose(1);
    world.pass(4 * LEASE);
    assert_eq!(cleaned_up_behind(&world), [], "its successor has not named it");
    world.name(0, &[gone]);
    world.pass(2 * LEASE);
    assert_eq!(cleaned_up_behind(&world), [gone]);
}
