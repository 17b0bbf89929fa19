//! Long histories: counted, not timed.

use super::*;

/// What a correct store answers to `client_count` clients that overlap all the time. Effects are instants in the
/// order of the numbers; intervals reach from some effects before to some after.
fn correct_history(operation_count: u64, client_count: u64, unknown_every: u64, seed: u64) -> Vec<Operation> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut state: Option<ValueId> = None;
    let mut operations = Vec::new();
    for number in 0..operation_count {
        let effect_ns = 1_000 + number * 10;
        let spread_ns = client_count * 5;
        let value = ValueId(number + 1);
        let read = state.unwrap_or(ValueId(1));
        let (kind, answer, after) = match rng.random_range(0..10) {
            0..=4 => (Kind::Get, Answer::Value(state), state),
            5 | 6 => (Kind::Put { value }, Answer::Applied, Some(value)),
            7 => match state {
                None => (Kind::PutIfAbsent { value }, Answer::Applied, Some(value)),
                Some(_) => (Kind::PutIfAbsent { value }, Answer::Refused, state),
            },
            8 if state.is_some() => (Kind::PutIfVersion { read, value }, Answer::Applied, Some(value)),
            _ => (Kind::Delete, Answer::Deleted(Some(state.is_some())), None),
        };
        let unknown = unknown_every > 0 && number % unknown_every == unknown_every - 1;
        let takes_effect = !unknown || rng.random();
        if takes_effect {
            state = after;
        }
        let returned_ns = effect_ns + rng.random_range(0..=spread_ns);
        operations.push(Operation {
            client: u32::try_from(number % client_count).unwrap(),
            key: b"k".to_vec(),
            kind,
            invoked_ns: effect_ns - rng.random_range(0..=spread_ns),
            outcome: if unknown { Outcome::Unknown } else { Outcome::Ok { returned_ns, answer } },
        });
    }
    operations
}

#[test]
fn a_thousand_operations_of_eight_clients_cost_few_configurations() {
    for seed in 0..20 {
        let report = check(&History::new(correct_history(1_000, 8, 0, seed))).unwrap();
        assert_eq!(report.operations, 1_000);
        assert!(report.configurations < 20_000, "seed {seed}: {} configurations", report.configurations);
    }
}

#[test]
fn ten_thousand_operations_on_a_key_need_no_deep_stack() {
    let operations = correct_history(10_000, 8, 0, 1);
    // A recursive search would need this many frames; the thread has room for few.
    let check = move || check(&History::new(operations)).unwrap();
    let report = std::thread::Builder::new().stack_size(128 * 1024).spawn(check).unwrap().join().unwrap();
    assert!(report.configurations < 200_000, "{} configurations", report.configurations);
}

#[test]
fn eight_unknown_operations_among_a_thousand_are_within_the_limits() {
    for seed in 0..10 {
        let report = check(&History::new(correct_history(1_000, 8, 125, seed))).unwrap();
        assert_eq!(report.unknown, 8);
        assert!(report.configurations < 500_000, "seed {seed}: {} configurations", report.configurations);
    }
}

#[test]
fn a_wrong_answer_late_in_a_long_history_is_found() {
    let mut operations = correct_history(5_000, 8, 0, 3);
    let stale = operations.iter().find(|o| matches!(o.kind, Kind::Put { .. })).unwrap().kind.written();
    let read = operations.iter_mut().rfind(|o| o.kind == Kind::Get).unwrap();
    let Outcome::Ok { returned_ns, .. } = read.outcome else { unreachable!() };
    read.outcome = Outcome::Ok { returned_ns, answer: Answer::Value(stale) };
    let wrong = read.clone();
    let Err(Failure::Violation(violation)) = check(&History::new(operations)) else { panic!("accepted") };
    assert!(violation.placed > 4_900, "{violation}");
    assert!(violation.page.lines().count() < 40);
    assert!(violation.page.contains(&wrong.to_string()), "{violation}");
}

/// Writes that all overlap, and a read after them of a value that nobody wrote: every order must be tried.
fn hopeless(width: u64) -> Vec<Operation> {
    let ok = |kind, from, to, answer| Operation {
        client: 0,
        key: b"k".to_vec(),
        kind,
        invoked_ns: from,
        outcome: Outcome::Ok { returned_ns: to, answer },
    };
    let mut operations: Vec<Operation> =
        (1..=width).map(|v| ok(Kind::Put { value: ValueId(v) }, 0, 10, Answer::Applied)).collect();
    let name_all = (1..=width).map(|v| {
        let kind = Kind::PutIfVersion { read: ValueId(v), value: ValueId(1_000 + v) };
        ok(kind, 20, 20, Answer::Refused)
    });
    operations.extend(name_all);
    operations.push(ok(Kind::Get, 30, 31, Answer::Value(Some(ValueId(999_999)))));
    operations
}

#[test]
fn a_search_beyond_the_limits_says_so() {
    let limits = Limits { configurations_per_key: 10_000 };
    match check_within(&History::new(hopeless(40)), limits) {
        Err(Failure::GaveUp { key, configurations, operations, .. }) => {
            assert_eq!((key.as_slice(), configurations, operations), (b"k".as_slice(), 10_000, 81));
        }
        other => panic!("expected to give up, got {other:?}"),
    }
    let small = check_within(&History::new(hopeless(6)), limits);
    assert!(matches!(small, Err(Failure::Violation(_))), "{small:?}");
}

#[test]
fn a_violation_outranks_giving_up_on_another_key() {
    let mut operations = hopeless(40);
    let read = operations.last().unwrap().clone();
    operations.push(Operation { key: b"z".to_vec(), ..read });
    let limits = Limits { configurations_per_key: 10_000 };
    let Err(Failure::Violation(violation)) = check_within(&History::new(operations), limits) else {
        panic!("expected a violation");
    };
    assert_eq!(violation.key, b"z");
}
