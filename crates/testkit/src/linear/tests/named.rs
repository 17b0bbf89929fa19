//! Cases by name: what each kind of wrong store looks like, and its harmless neighbour.

use super::*;

/// An operation of `client` on key "k" from `from` to `to`.
fn ok(client: u32, kind: Kind, from: u64, to: u64, answer: Answer) -> Operation {
    let outcome = Outcome::Ok { returned_ns: to, answer };
    Operation { client, key: b"k".to_vec(), kind, invoked_ns: from, outcome }
}

fn unknown(client: u32, kind: Kind, from: u64) -> Operation {
    Operation { client, key: b"k".to_vec(), kind, invoked_ns: from, outcome: Outcome::Unknown }
}

fn put(client: u32, value: u64, from: u64, to: u64) -> Operation {
    ok(client, Kind::Put { value: ValueId(value) }, from, to, Answer::Applied)
}

fn get(client: u32, value: u64, from: u64, to: u64) -> Operation {
    let value = (value > 0).then_some(ValueId(value));
    ok(client, Kind::Get, from, to, Answer::Value(value))
}

fn swap(client: u32, read: u64, value: u64, from: u64, to: u64, answer: Answer) -> Operation {
    ok(client, Kind::PutIfVersion { read: ValueId(read), value: ValueId(value) }, from, to, answer)
}

fn violation(operations: &[Operation]) -> Violation {
    match check(&History::new(operations.to_vec())) {
        Err(Failure::Violation(violation)) => *violation,
        other => panic!("expected a violation, got {other:?}"),
    }
}

fn accepted(operations: &[Operation]) -> Report {
    check(&History::new(operations.to_vec())).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn nothing_and_one_read_of_nothing_are_linearizable() {
    assert_eq!(accepted(&[]), Report::default());
    assert_eq!(accepted(&[get(0, 0, 1, 2)]).operations, 1);
}

#[test]
fn stale_read() {
    let stale = violation(&[put(0, 1, 0, 1), put(0, 2, 2, 3), get(1, 1, 4, 5)]);
    assert_eq!((stale.placed, stale.blocked.invoked_ns), (2, 4));
    accepted(&[put(0, 1, 0, 1), put(0, 2, 2, 5), get(1, 1, 4, 5)]);
}

#[test]
fn read_of_nothing_after_a_write() {
    violation(&[put(0, 1, 0, 1), get(1, 0, 2, 3)]);
    accepted(&[put(0, 1, 0, 2), get(1, 0, 2, 3)]);
}

#[test]
fn read_of_a_value_from_nowhere() {
    let page = violation(&[put(0, 1, 0, 1), get(1, 9, 2, 3)]).page;
    assert!(page.contains("No operation that may have taken effect writes v9"), "{page}");
    let failed = Operation { outcome: Outcome::Failed, ..put(0, 9, 0, 1) };
    violation(&[failed, get(1, 9, 2, 3)]);
}

#[test]
fn lost_update() {
    let (first, second) = (swap(1, 1, 2, 2, 9, Answer::Applied), swap(2, 1, 3, 3, 8, Answer::Applied));
    violation(&[put(0, 1, 0, 1), first.clone(), second]);
    accepted(&[put(0, 1, 0, 1), first, swap(2, 1, 3, 3, 8, Answer::Refused), get(0, 2, 10, 11)]);
}

#[test]
fn swap_refused_although_nothing_had_changed() {
    violation(&[put(0, 1, 0, 1), swap(1, 1, 2, 2, 3, Answer::Refused)]);
    accepted(&[put(0, 1, 0, 1), swap(1, 1, 2, 2, 3, Answer::Refused), put(0, 3, 3, 4)]);
}

#[test]
fn new_old_inversion() {
    let write = put(0, 2, 2, 20);
    violation(&[put(0, 1, 0, 1), write.clone(), get(1, 2, 3, 4), get(2, 1, 5, 6)]);
    accepted(&[put(0, 1, 0, 1), write, get(1, 2, 3, 5), get(2, 1, 5, 6)]);
}

#[test]
fn insert_race_both_created() {
    let insert =
        |client, value, answer| ok(client, Kind::PutIfAbsent { value: ValueId(value) }, 0, 10, answer);
    violation(&[insert(0, 1, Answer::Applied), insert(1, 2, Answer::Applied)]);
    accepted(&[insert(0, 1, Answer::Applied), insert(1, 2, Answer::Refused), get(0, 1, 11, 12)]);
    violation(&[insert(0, 1, Answer::Refused), insert(1, 2, Answer::Refused)]);
}

#[test]
fn replace_of_a_key_that_is_not_there() {
    let replace = |from, answer| ok(1, Kind::PutIfPresent { value: ValueId(2) }, from, from + 1, answer);
    violation(&[replace(0, Answer::Applied), put(0, 1, 2, 3)]);
    accepted(&[replace(0, Answer::Refused), put(0, 1, 2, 3)]);
    violation(&[put(0, 1, 2, 3), replace(4, Answer::Refused)]);
}

#[test]
fn unknown_write_seen_later() {
    let lost = unknown(0, Kind::Put { value: ValueId(2) }, 2);
    let report = accepted(&[put(0, 1, 0, 1), lost.clone(), get(1, 1, 3, 4), get(1, 2, 90, 91)]);
    assert_eq!(report.unknown, 1);
    violation(&[put(0, 1, 0, 1), lost.clone(), get(1, 2, 3, 4), get(1, 1, 5, 6)]);
    // It may be late, but not early.
    violation(&[put(0, 1, 0, 1), get(1, 2, 1, 1), lost]);
}

#[test]
fn unknown_write_never_seen() {
    let lost = unknown(0, Kind::Put { value: ValueId(2) }, 2);
    accepted(&[put(0, 1, 0, 1), lost, get(1, 1, 3, 4), get(1, 1, 90, 91)]);
}

#[test]
fn unknown_conditional_write_needs_its_condition() {
    let lost = unknown(0, Kind::PutIfAbsent { value: ValueId(2) }, 2);
    violation(&[put(0, 1, 0, 1), lost.clone(), get(1, 2, 3, 4)]);
    let delete = ok(1, Kind::Delete, 5, 6, Answer::Deleted(None));
    accepted(&[put(0, 1, 0, 1), lost, delete, get(1, 2, 7, 8)]);
}

#[test]
fn unknown_write_takes_effect_once() {
    let lost = unknown(0, Kind::Put { value: ValueId(2) }, 0);
    let delete = ok(1, Kind::Delete, 3, 4, Answer::Deleted(Some(true)));
    violation(&[lost, get(1, 2, 1, 2), delete, get(1, 2, 5, 6)]);
}

#[test]
fn delete_twice() {
    let delete = |from, to, removed| ok(1, Kind::Delete, from, to, Answer::Deleted(removed));
    violation(&[put(0, 1, 0, 1), delete(2, 3, Some(true)), delete(4, 5, Some(true))]);
    violation(&[put(0, 1, 0, 1), delete(2, 9, Some(true)), delete(3, 8, Some(true))]);
    accepted(&[put(0, 1, 0, 1), delete(2, 3, Some(true)), delete(4, 5, Some(false))]);
    accepted(&[put(0, 1, 0, 1), delete(2, 3, None), delete(4, 5, None), get(0, 0, 6, 7)]);
    violation(&[put(0, 1, 0, 1), delete(2, 3, None), get(0, 1, 6, 7)]);
}

#[test]
fn conditional_delete() {
    let delete =
        |read, from, answer| ok(1, Kind::DeleteIfVersion { read: ValueId(read) }, from, from + 1, answer);
    accepted(&[put(0, 1, 0, 1), delete(1, 2, Answer::Applied), get(0, 0, 4, 5)]);
    violation(&[put(0, 1, 0, 1), delete(1, 2, Answer::Applied), get(0, 1, 4, 5)]);
    violation(&[put(0, 1, 0, 1), put(0, 2, 2, 3), delete(1, 4, Answer::Applied)]);
    accepted(&[put(0, 1, 0, 1), put(0, 2, 2, 3), delete(1, 4, Answer::Refused), get(0, 2, 6, 7)]);
}

#[test]
fn existence() {
    let exists = |from, answer| ok(1, Kind::Exists, from, from, Answer::Present(answer));
    accepted(&[exists(0, false), put(0, 1, 1, 3), exists(1, false), exists(2, true)]);
    violation(&[put(0, 1, 1, 3), exists(2, true), exists(3, false)]);
}

#[test]
fn the_smallest_failing_key_is_reported_and_malformed_ones_come_first() {
    let on = |key: &[u8], operation: Operation| Operation { key: key.to_vec(), ..operation };
    let mut history = History::new(vec![
        on(b"a", put(0, 1, 0, 1)),
        on(b"a", put(0, 2, 2, 3)),
        on(b"a", get(0, 1, 4, 5)),
        on(b"b", get(0, 7, 4, 5)),
        on(b"c", get(0, 0, 4, 5)),
    ]);
    let Err(Failure::Violation(violation)) = check(&history) else { panic!("accepted") };
    assert_eq!((violation.key.as_slice(), violation.operations), (b"b".as_slice(), 1));
    history.push(put(3, 1, 8, 9));
    assert!(matches!(check(&history), Err(Failure::Malformed(Malformed::ValueWrittenTwice { .. }))));
}

#[test]
fn the_page_shows_where_the_search_got_stuck() {
    let lost = unknown(3, Kind::Put { value: ValueId(4) }, 150);
    let operations =
        [put(0, 1, 100, 200), put(1, 2, 300, 400), lost, get(2, 2, 350, 500), get(0, 1, 600, 700)];
    let page = violation(&operations).page;
    assert!(page.is_ascii());
    assert_eq!(page, include_str!("stale_read.txt"), "\n{page}");
}
