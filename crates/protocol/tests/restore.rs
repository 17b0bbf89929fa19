//! A copy of a home is made on a further node, and the members of a closed home are made alike: over shared memory.

mod common;

use common::Nodes;
use farrow_fabric::{Fabric, Meter, block_on};
use farrow_fabric_shm::ShmFabric;
use farrow_layout::{ClientId, ExtentRecord, ExtentState, ExtentWord, Word};
use farrow_protocol::restore::{Copied, Pace, Pass, copy_sealed, frozen_bytes, join_member};
use farrow_protocol::{Colocated, Events, ProtocolError, equalise_tables, make_alike};
use std::cell::Cell;
use std::time::Duration;

const KEYS: u32 = 200;
const EXTENT: u64 = 16 << 10;
/// Extents of one client in these tests.
const A_CLIENT: u64 = common::CLIENT_EXTENT / EXTENT;

fn key(n: u32) -> Vec<u8> {
    format!("key number {n}").into_bytes()
}

/// Two clients have put keys on nodes 0 and 1; what the first has written is sealed, the second goes on.
fn filled() -> Nodes {
    let nodes = Nodes::new(3);
    for (id, keys) in [(1, 0..KEYS / 2), (2, KEYS / 2..KEYS)] {
        let mut client = nodes.client_of(&[0, 1], id, Colocated);
        for n in keys {
            client.put(&key(n), &[n as u8; 300], None);
        }
        let open = ExtentWord::FREE.opened(ClientId(id));
        let word = if id == 1 { open.sealed() } else { open };
        let first = u64::from(id - 1) * A_CLIENT;
        for extent in first..first + A_CLIENT {
            [0, 1].iter().for_each(|node| nodes.set_record(*node, extent, word));
        }
    }
    nodes
}

fn pass(nodes: &Nodes, fabric: &ShmFabric, copied: &mut Copied) -> Pass {
    let (source, target) = (nodes.member(fabric, 0), nodes.member(fabric, 2));
    let (pace, progress, meter) = (Pace::none(), Cell::new(0), Meter::new());
    let copy = copy_sealed(fabric, &meter, &source, &target, copied, &pace, &progress);
    let pass = block_on(fabric, copy).unwrap();
    assert_eq!(progress.get(), pass.copied);
    pass
}

fn join(nodes: &Nodes, fabric: &ShmFabric, copied: &mut Copied) -> u64 {
    let (view, target) = (nodes.home(fabric, &[0, 1]).closed(), nodes.member(fabric, 2));
    let (events, meter) = (Events::default(), Meter::new());
    block_on(fabric, async {
        make_alike(fabric, &events, &meter, &view).await.unwrap();
        join_member(fabric, &events, &meter, &view, &target, copied).await.unwrap().copied
    })
}

#[test]
fn a_node_that_joined_holds_everything_alone() {
    let nodes = filled();
    let (fabric, mut copied) = (ShmFabric::new(8 << 20), Copied::new());
    pass(&nodes, &fabric, &mut copied);
    join(&nodes, &fabric, &mut copied);

    let mut client = nodes.client_of(&[2], 3, Colocated);
    for n in 0..KEYS {
        let (value, _) = client.get(&key(n), None).unwrap().expect("the key was copied");
        assert_eq!(value, [n as u8; 300]);
        assert_eq!(client.verbs().0, 2, "it does not look pending");
    }
    for extent in 0..nodes.plan.extents() {
        assert_eq!(nodes.record(2, extent), nodes.record(0, extent));
    }
    assert_eq!(nodes.check() as u32, KEYS);
}

#[test]
fn what_was_sealed_is_copied_once_and_what_is_open_when_the_home_is_frozen() {
    let nodes = filled();
    let (fabric, mut copied) = (ShmFabric::new(8 << 20), Copied::new());
    let rest = |copied: &Copied| {
        block_on(&fabric, frozen_bytes(&fabric, &Meter::new(), &nodes.member(&fabric, 0), copied)).unwrap()
    };
    let bytes = A_CLIENT * EXTENT;
    let table_and_index = rest(&Copied::new()) - 2 * bytes;
    assert!(table_and_index >= nodes.plan.extents() * ExtentRecord::LEN as u64);

    assert_eq!(pass(&nodes, &fabric, &mut copied), Pass { copied: bytes, open: bytes });
    assert_eq!(pass(&nodes, &fabric, &mut copied), Pass { copied: 0, open: bytes });
    assert_eq!(rest(&copied), table_and_index + bytes);

    // The second client seals one of its extents.
    let open = nodes.record(0, A_CLIENT);
    [0, 1].iter().for_each(|node| nodes.set_record(*node, A_CLIENT, open.sealed()));
    assert_eq!(pass(&nodes, &fabric, &mut copied), Pass { copied: EXTENT, open: bytes - EXTENT });
    assert_eq!(join(&nodes, &fabric, &mut copied), table_and_index + bytes - EXTENT);
    // A freeze that was given up is made up for: only what is open is copied again.
    assert_eq!(join(&nodes, &fabric, &mut copied), table_and_index + bytes - EXTENT);
}

#[test]
fn a_cap_is_kept() {
    let nodes = filled();
    let fabric = ShmFabric::new(8 << 20);
    let (source, target) = (nodes.member(&fabric, 0), nodes.member(&fabric, 2));
    let (progress, meter) = (Cell::new(0), Meter::new());
    let begin = fabric.now();
    // The first piece is free, and there are two: the table's other extents lie in between.
    nodes.set_record(0, 3 * A_CLIENT, ExtentWord::FREE.opened(ClientId(9)).sealed());
    let pace = Pace::of(10 * A_CLIENT * EXTENT);
    let mut copied = Copied::new();
    let copy = copy_sealed(&fabric, &meter, &source, &target, &mut copied, &pace, &progress);
    block_on(&fabric, copy).unwrap();
    assert_eq!(progress.get(), (A_CLIENT + 1) * EXTENT);
    // What a late timer lost may be made up for, but for no more than two milliseconds.
    assert!(fabric.now() >= begin + Duration::from_millis(98));
}

#[test]
fn what_any_member_knows_of_an_extent_all_of_them_know_in_the_end() {
    let nodes = Nodes::new(3);
    let open = ExtentWord::FREE.opened(ClientId(7));
    let later = open.sealed().opened(ClientId(8));
    // Announced to a backup alone; sealed at a backup, and open still at the primary; late at a backup.
    nodes.set_record(2, 5, open);
    [open, open.sealed(), open].iter().enumerate().for_each(|(node, word)| nodes.set_record(node, 6, *word));
    [later, open.sealed(), later]
        .iter()
        .enumerate()
        .for_each(|(node, word)| nodes.set_record(node, 9, *word));
    nodes.set_word(0, nodes.segment().extent_dead_bytes(6), Word::from_raw(640));

    let fabric = ShmFabric::new(8 << 20);
    let home = nodes.home(&fabric, &[0, 1, 2]).closed();
    let meter = Meter::new();
    let differed = block_on(&fabric, equalise_tables(&fabric, &meter, &home)).unwrap();
    assert_eq!(differed, 3);
    assert_eq!(meter.cost().round_trips, 2);
    for node in 0..3 {
        let held = [5, 6, 9].map(|extent| nodes.record(node, extent));
        assert_eq!(held, [open, open.sealed(), later]);
        assert_eq!(nodes.word(node, nodes.segment().extent_dead_bytes(6)).raw(), 640);
        let others = (0..nodes.plan.extents()).filter(|e| ![5, 6, 9].contains(e));
        assert!(others.into_iter().all(|e| nodes.record(node, e).state() == ExtentState::Free));
    }
    assert_eq!(block_on(&fabric, equalise_tables(&fabric, &meter, &home)).unwrap(), 0);
}

#[test]
fn a_new_primary_answers_without_a_further_round_trip_once_the_home_was_made_alike() {
    let nodes = filled();
    let mut client = nodes.client_of(&[1, 2], 3, Colocated);
    client.home = client.home.closed();
    let refused = client.get(&key(1), None).unwrap_err();
    assert_eq!(refused.error, ProtocolError::Closed, "it looks pending to the new primary");
    assert!(client.get(b"nobody's", None).unwrap().is_none());

    let fabric = ShmFabric::new(8 << 20);
    let view = nodes.home(&fabric, &[1, 2]).closed();
    let (events, meter) = (Events::default(), Meter::new());
    let changed = block_on(&fabric, make_alike(&fabric, &events, &meter, &view)).unwrap();
    assert_eq!(changed.equalised.committed, u64::from(KEYS));
    let (value, found) = client.get(&key(1), None).unwrap().expect("it is committed now");
    assert_eq!((value, client.verbs().0), (vec![1; 300], 2));
    assert!(client.exists(&key(1), Some(found)).unwrap().is_some());
    for refused in [
        client.put_if(&key(1), b"x", Some(found), farrow_protocol::Condition::Always).unwrap_err(),
        client.delete(&key(1), Some(found)).unwrap_err(),
    ] {
        assert_eq!((refused.error, refused.effect), (ProtocolError::Closed, farrow_fabric::Effect::None));
    }
    assert_eq!(client.verbs().1, [0; 3], "nothing was posted");
}
