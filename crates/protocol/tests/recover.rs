//! What a lost client leaves behind is put in order: over shared memory, each kind of remnant made by hand.

mod common;

use common::{CLIENT_EXTENT, Nodes};
use farrow_fabric::{Meter, block_on};
use farrow_fabric_shm::ShmFabric;
use farrow_layout::*;
use farrow_protocol::recover::{OpenGrant, QuietGrant, Recovered, Swept, sweep_pending};
use farrow_protocol::{Colocated, Events, Found, ProtocolError, recover_client};

const EXTENT: u64 = 16 << 10;
/// Extents of one client in these tests.
const A_CLIENT: u64 = CLIENT_EXTENT / EXTENT;
const LOST: ClientId = ClientId(2);

fn grant() -> OpenGrant {
    OpenGrant { first: A_CLIENT, count: A_CLIENT as u32 }
}

/// Client 1 has put the key, and every member says that client 2 has its extents open.
fn nodes() -> (Nodes, Found) {
    let nodes = Nodes::new(3);
    let found = nodes.client(1, Colocated).put(b"key", &[1; 100], None);
    for extent in A_CLIENT..2 * A_CLIENT {
        (0..3).for_each(|node| nodes.set_record(node, extent, ExtentWord::FREE.opened(LOST)));
    }
    (nodes, found)
}

fn recover(nodes: &Nodes) -> Recovered {
    let fabric = ShmFabric::new(8 << 20);
    let home = nodes.home(&fabric, &[0, 1, 2]);
    let (events, meter, grants) = (Events::default(), Meter::new(), [grant()]);
    block_on(&fabric, recover_client(&fabric, &events, &meter, &home, LOST, &grants)).unwrap()
}

/// An entry of the lost client for the key, which lies on some nodes, and the word that names it behind `before`.
fn entry(nodes: &Nodes, on: &[usize], before: Word) -> Word {
    let at = A_CLIENT * EXTENT;
    let mut bytes = vec![0; entry_len(3, 100)];
    let entry = Entry { client: LOST, sequence: 1, flags: 0, expiry_ms: 0, replaced: before };
    let head = encode_entry(&entry, b"key", &[2; 100], &mut bytes);
    bytes[head..head + 100].fill(2);
    let pointer = Pointer::from_offset(at);
    let start = nodes.segment().entry(pointer).0;
    for node in on {
        for (word, bytes) in (start..).step_by(8).zip(bytes.chunks(8)) {
            let word = (RemoteAddr(word), u64::from_le_bytes(bytes.try_into().unwrap()));
            nodes.set_word(*node, word.0, Word::from_raw(word.1));
        }
    }
    before.naming(KeyHash::of(b"key"), SizeClass::for_len(bytes.len()), pointer)
}

fn swept(recovered: &Recovered) -> Swept {
    Swept { slots: 0, ..recovered.swept }
}

#[test]
fn a_word_that_came_to_a_backup_alone_is_taken_back_and_its_entry_is_the_same_everywhere() {
    let (nodes, found) = nodes();
    let stray = entry(&nodes, &[1], found.word);
    nodes.set_word(1, nodes.segment().slot(found.slot), stray);
    let recovered = recover(&nodes);
    assert_eq!(swept(&recovered), Swept { taken_back: 1, ..Swept::default() });
    assert_eq!(nodes.slot_words(found.slot), [found.word; 3]);
    let used = entry_len(3, 100) as u64;
    assert_eq!(recovered.quiet, [QuietGrant { grant: grant(), used }]);
    assert_eq!(recovered.copied, 2 * used, "to the two that had nothing of it");
    for extent in A_CLIENT..2 * A_CLIENT {
        let open = ExtentWord::FREE.opened(LOST);
        let records = [0, 1, 2].map(|node| nodes.record(node, extent));
        assert_eq!(records, [open, open.sealed(), open.sealed()], "the primary's daemon seals its own");
    }
    assert_eq!(nodes.check(), 1);
}

#[test]
fn a_word_that_came_to_the_primary_is_brought_to_all() {
    let (nodes, found) = nodes();
    let word = entry(&nodes, &[0, 2], found.word);
    [0, 2].iter().for_each(|node| nodes.set_word(*node, nodes.segment().slot(found.slot), word));
    let recovered = recover(&nodes);
    assert_eq!(swept(&recovered), Swept { settled: 1, ..Swept::default() });
    assert_eq!(nodes.slot_words(found.slot), [word; 3]);
    assert_eq!(nodes.check(), 1);
    let (value, _) = nodes.client(3, Colocated).get(b"key", None).unwrap().expect("it was put");
    assert_eq!(value, [2; 100]);
    assert_eq!(swept(&recover(&nodes)), Swept::default(), "once more changes nothing");
}

#[test]
fn a_claim_to_a_slot_is_withdrawn_also_when_its_confirmation_came_to_a_backup() {
    for confirmed in [&[][..], &[2], &[1, 2]] {
        let (nodes, found) = nodes();
        let mut client = nodes.client(3, Colocated);
        client.delete(b"key", Some(found)).unwrap();
        let nonce = found.word.emptied();
        let claim = entry(&nodes, &[0, 1, 2], nonce).tentative();
        nodes.set_word(0, nodes.segment().slot(found.slot), claim);
        confirmed
            .iter()
            .for_each(|n| nodes.set_word(*n, nodes.segment().slot(found.slot), claim.confirmed()));
        assert_eq!(swept(&recover(&nodes)), Swept { withdrawn: 1, ..Swept::default() });
        assert_eq!(nodes.slot_words(found.slot), [claim.emptied(); 3]);
        assert!(client.get(b"key", None).unwrap().is_none());
    }
}

#[test]
fn what_others_have_in_flight_is_left_alone() {
    let (nodes, found) = nodes();
    // Client 1 works: its next word lies on a backup, and is on its way to the primary.
    let on_its_way = found.word.naming(
        KeyHash::of(b"key"),
        SizeClass::for_len(100),
        Pointer::from_offset(found.word.pointer().offset() + 192),
    );
    nodes.set_word(2, nodes.segment().slot(found.slot), on_its_way);
    let claimed = SlotAddr { partition: 1, index: SlotIndex(5) };
    nodes.set_word(0, nodes.segment().slot(claimed), on_its_way.tentative());
    assert_eq!(swept(&recover(&nodes)), Swept::default());
    assert_eq!(nodes.slot_words(found.slot), [found.word, found.word, on_its_way]);
    assert_eq!(nodes.slot_words(claimed)[0], on_its_way.tentative());
}

#[test]
fn a_rotten_copy_at_the_primary_is_not_spread() {
    let (nodes, found) = nodes();
    let word = entry(&nodes, &[0, 1, 2], found.word);
    for node in 0..3 {
        nodes.set_word(node, nodes.segment().slot(found.slot), word);
    }
    nodes.set_word(0, nodes.segment().committed(found.slot), word);
    nodes.corrupt(0, RemoteAddr(nodes.segment().entry(word.pointer()).0 + 70));
    recover(&nodes);
    assert_eq!(nodes.check(), 1, "and the primary has a good one again");
}

#[test]
fn nothing_is_put_in_order_in_a_closed_home() {
    let (nodes, found) = nodes();
    let word = entry(&nodes, &[0], found.word);
    nodes.set_word(0, nodes.segment().slot(found.slot), word);
    let fabric = ShmFabric::new(8 << 20);
    let home = nodes.home(&fabric, &[0, 1, 2]).closed();
    let (events, meter, grants) = (Events::default(), Meter::new(), [grant()]);
    let recovered = recover_client(&fabric, &events, &meter, &home, LOST, &grants);
    assert_eq!(block_on(&fabric, recovered).unwrap_err().error, ProtocolError::Closed);
    assert_eq!(meter.cost().foreground.verbs(), 0);
}

#[test]
fn a_sweep_completes_whatever_is_pending() {
    let (nodes, found) = nodes();
    let word = entry(&nodes, &[0], found.word);
    nodes.set_word(0, nodes.segment().slot(found.slot), word);
    let fabric = ShmFabric::new(8 << 20);
    let home = nodes.home(&fabric, &[0, 1, 2]);
    let (events, meter) = (Events::default(), Meter::new());
    let all = block_on(&fabric, sweep_pending(&fabric, &events, &meter, &home)).unwrap();
    assert_eq!(Swept { slots: 0, ..all }, Swept { settled: 1, ..Swept::default() });
    assert_eq!(nodes.slot_words(found.slot), [word; 3]);
    assert_eq!(nodes.check(), 1);
}
