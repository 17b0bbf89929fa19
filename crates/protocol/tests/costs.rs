//! The cost of every operation, exactly: round trips, verbs and bytes, for f = 0, 1, 2. The tables of
//! docs/protocols/colocated.md and snapshot.md say the same.

mod common;

use common::Nodes;
use farrow_protocol::{Colocated, Condition, PutOutcome, Rejection, Snapshot};

const KEY: &[u8] = b"a key of 16 byte";
const VALUE: [u8; 64] = [7; 64];
/// Header, key, value.
const ENTRY: u64 = 48 + 16 + 64;

#[test]
fn colocated_get() {
    for copies in 1..=3 {
        let nodes = Nodes::new(copies);
        let mut c = nodes.client(1, Colocated);
        let found = c.put(KEY, &VALUE, None);

        assert_eq!(c.get(KEY, Some(found)).unwrap().unwrap().0, VALUE);
        assert_eq!(c.verbs(), (1, [2, 0, 0], 0), "cached, {copies} copies");
        assert_eq!(c.cost.foreground.bytes_in, ENTRY + 16);

        assert_eq!(c.get(KEY, None).unwrap().unwrap().0, VALUE);
        assert_eq!(c.verbs(), (2, [4, 0, 0], 0), "not cached, {copies} copies");
        assert_eq!(c.cost.foreground.bytes_in, 512 + ENTRY + 16);

        assert!(c.get(b"another key", None).unwrap().is_none());
        assert_eq!(c.verbs(), (1, [2, 0, 0], 0), "absent, {copies} copies");
    }
}

#[test]
fn colocated_put_of_an_existing_key() {
    for copies in 1..=3 {
        let n = copies as u64;
        let nodes = Nodes::new(copies);
        let mut c = nodes.client(1, Colocated);
        let found = c.put(KEY, &VALUE, None);

        c.put(KEY, &VALUE, Some(found));
        assert_eq!(c.verbs(), (1, [0, n, n], 1), "cached, {copies} copies");
        assert_eq!(c.cost.foreground.bytes_out, n * (ENTRY + 16));
        assert_eq!(c.cost.background.bytes_out, 8);

        c.put(KEY, &VALUE, None);
        // Two buckets and the entry everywhere; key and slot; the replaced word and the CAS everywhere.
        assert_eq!(c.verbs(), (3, [4, 2 * n, n], 1), "not cached, {copies} copies");
        assert_eq!(nodes.check(), 1);
    }
}

#[test]
fn colocated_put_of_a_new_key() {
    for copies in 1..=3 {
        let n = copies as u64;
        let nodes = Nodes::new(copies);
        let mut c = nodes.client(1, Colocated);
        c.put(KEY, &VALUE, None);
        // Two buckets and the entry everywhere; the CAS everywhere.
        assert_eq!(c.verbs(), (2, [2, n, n], 1), "{copies} copies");
        assert_eq!(c.cost.foreground.bytes_out, n * (ENTRY + 16));
        assert_eq!(nodes.check(), 1);
    }
}

#[test]
fn colocated_delete() {
    for copies in 1..=3 {
        let n = copies as u64;
        let nodes = Nodes::new(copies);
        let mut c = nodes.client(1, Colocated);
        let found = c.put(KEY, &VALUE, None);
        c.delete(KEY, Some(found)).unwrap();
        assert_eq!(c.verbs(), (1, [0, 0, n], 1), "cached, {copies} copies");

        c.put(KEY, &VALUE, None);
        c.delete(KEY, None).unwrap();
        assert_eq!(c.verbs(), (3, [4, 0, n], 1), "not cached, {copies} copies");
        assert_eq!(nodes.check(), 0);
    }
}

#[test]
fn colocated_conditions() {
    for copies in 1..=3 {
        let n = copies as u64;
        let nodes = Nodes::new(copies);
        let mut c = nodes.client(1, Colocated);
        let PutOutcome::Done(first) = c.put_if(KEY, &VALUE, None, Condition::IfAbsent).unwrap() else {
            panic!()
        };
        assert_eq!(c.verbs(), (2, [2, n, n], 1), "if absent, {copies} copies");

        let again = c.put_if(KEY, &VALUE, None, Condition::IfAbsent).unwrap();
        assert_eq!(again, PutOutcome::Rejected(Rejection::Exists(first.word)));
        assert_eq!(c.verbs(), (2, [4, n, 0], 0), "if absent, rejected, {copies} copies");

        let PutOutcome::Done(_) =
            c.put_if(KEY, &VALUE, Some(first), Condition::IfVersion(first.word)).unwrap()
        else {
            panic!()
        };
        assert_eq!(c.verbs(), (1, [0, n, n], 1), "if version, {copies} copies");

        c.put_if(KEY, &VALUE, None, Condition::IfPresent).unwrap();
        assert_eq!(c.verbs(), (3, [4, n, n], 1), "if present, not cached, {copies} copies");

        c.put_if(b"nowhere", &VALUE, None, Condition::IfPresent).unwrap();
        assert_eq!(c.verbs(), (1, [2, 0, 0], 0), "if present, rejected, {copies} copies");
    }
}

#[test]
fn colocated_exists() {
    let nodes = Nodes::new(3);
    let mut c = nodes.client(1, Colocated);
    let found = c.put(KEY, &VALUE, None);
    c.exists(KEY, Some(found)).unwrap().unwrap();
    assert_eq!(c.verbs(), (1, [1, 0, 0], 0));
    c.exists(KEY, None).unwrap().unwrap();
    assert_eq!(c.verbs(), (2, [4, 0, 0], 0));
    assert_eq!(c.cost.foreground.bytes_in, 512 + 48 + 16 + 16);
}

#[test]
fn snapshot_takes_four_round_trips_where_colocated_takes_one() {
    for copies in 1..=3 {
        let n = copies as u64;
        let (rounds, log) = if copies == 1 { (2, 0) } else { (4, n) };
        let nodes = Nodes::new(copies);
        let mut c = nodes.client(1, Snapshot);
        let found = c.put(KEY, &VALUE, None);
        // The buckets and the entry; then the look at the primary, the backups, the primary.
        assert_eq!(c.verbs(), (if copies == 1 { 3 } else { 4 }, [3, n, n], 0), "new, {copies} copies");

        c.put(KEY, &VALUE, Some(found));
        assert_eq!(c.verbs(), (rounds, [1, n + log, n], 0), "cached, {copies} copies");

        let (_, found) = c.get(KEY, None).unwrap().unwrap();
        assert_eq!(c.verbs(), (2, [4, 0, 0], 0));
        c.get(KEY, Some(found)).unwrap().unwrap();
        assert_eq!(c.verbs(), (1, [2, 0, 0], 0));

        c.delete(KEY, Some(found)).unwrap();
        assert_eq!(c.verbs(), (if copies == 1 { 2 } else { 3 }, [1, 0, n], 0), "delete, {copies} copies");
        assert_eq!(nodes.check(), 0);
    }
}
