//! The checker against every permutation of small random histories.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const HISTORIES: u64 = 60_000;
const MAX_OPERATIONS: usize = 6;

/// Sequential semantics written down a second time, naively and with concrete values.
fn explains(operation: &Operation, state: &mut Option<u64>) -> bool {
    let before = *state;
    let answer = operation.outcome.answer();
    let (possible, after) = match operation.kind {
        Kind::Get => (Answer::Value(before.map(ValueId)), before),
        Kind::Exists => (Answer::Present(before.is_some()), before),
        Kind::Put { value } => (Answer::Applied, Some(value.0)),
        Kind::PutIfAbsent { value } => match before {
            None => (Answer::Applied, Some(value.0)),
            Some(_) => (Answer::Refused, before),
        },
        Kind::PutIfPresent { value } => match before {
            Some(_) => (Answer::Applied, Some(value.0)),
            None => (Answer::Refused, None),
        },
        Kind::PutIfVersion { read, value } if before == Some(read.0) => (Answer::Applied, Some(value.0)),
        Kind::DeleteIfVersion { read } if before == Some(read.0) => (Answer::Applied, None),
        Kind::PutIfVersion { .. } | Kind::DeleteIfVersion { .. } => (Answer::Refused, before),
        Kind::Delete => (Answer::Deleted(Some(before.is_some())), None),
    };
    *state = after;
    match answer {
        None | Some(Answer::Deleted(None)) => true,
        Some(answer) => answer == possible,
    }
}

/// Whether any permutation of any choice of the unknown operations explains the history.
fn brute_force(operations: &[Operation]) -> bool {
    let optional: Vec<usize> =
        (0..operations.len()).filter(|&i| operations[i].outcome == Outcome::Unknown).collect();
    let required: Vec<usize> =
        (0..operations.len()).filter(|&i| operations[i].outcome.answer().is_some()).collect();
    (0..1_u32 << optional.len()).any(|chosen| {
        let mut order = required.clone();
        order.extend(optional.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1).map(|(_, &i)| i));
        let count = order.len();
        any_permutation(operations, &mut order, count)
    })
}

/// Heap's algorithm.
fn any_permutation(operations: &[Operation], order: &mut [usize], count: usize) -> bool {
    if count <= 1 {
        return is_right(operations, order);
    }
    for i in 0..count {
        if any_permutation(operations, order, count - 1) {
            return true;
        }
        order.swap(if count.is_multiple_of(2) { i } else { 0 }, count - 1);
    }
    false
}

fn is_right(operations: &[Operation], order: &[usize]) -> bool {
    let in_real_time = order.iter().enumerate().all(|(place, &later)| {
        order[..place].iter().all(|&earlier| {
            // Wrong if `later` had returned before `earlier` began.
            operations[later].outcome.returned_ns().is_none_or(|end| end >= operations[earlier].invoked_ns)
        })
    });
    let mut state = None;
    in_real_time && order.iter().all(|&index| explains(&operations[index], &mut state))
}

fn random_kind(rng: &mut SmallRng, value: u64) -> Kind {
    let read = ValueId(rng.random_range(1..=MAX_OPERATIONS as u64));
    let value = ValueId(value);
    match rng.random_range(0..10) {
        0..=2 => Kind::Get,
        3 => Kind::Exists,
        4 => Kind::Put { value },
        5 => Kind::PutIfAbsent { value },
        6 => Kind::PutIfPresent { value },
        7 => Kind::PutIfVersion { read, value },
        8 => Kind::Delete,
        _ => Kind::DeleteIfVersion { read },
    }
}

fn random_answer(rng: &mut SmallRng, kind: Kind) -> Answer {
    match kind {
        Kind::Get => {
            Answer::Value(Some(rng.random_range(0..=MAX_OPERATIONS as u64)).filter(|&v| v > 0).map(ValueId))
        }
        Kind::Exists => Answer::Present(rng.random()),
        Kind::Put { .. } => Answer::Applied,
        Kind::Delete => Answer::Deleted([None, Some(false), Some(true)][rng.random_range(0..3)]),
        _ if rng.random() => Answer::Applied,
        _ => Answer::Refused,
    }
}

/// Operations at random times, answered by a correct store; then, for some, one answer or outcome is changed.
fn random_history(rng: &mut SmallRng) -> Vec<Operation> {
    let count = rng.random_range(1..=MAX_OPERATIONS);
    let span = rng.random_range(2..=12);
    let mut state = None;
    let mut effects: Vec<(u64, u64, u64)> = (0..count)
        .map(|_| {
            let mut times = [0; 3].map(|_: i32| rng.random_range(0..span));
            times.sort_unstable();
            (times[1], times[0], times[2])
        })
        .collect();
    effects.sort_unstable();
    let mut operations = Vec::new();
    for (number, (_, invoked_ns, returned_ns)) in effects.into_iter().enumerate() {
        let kind = random_kind(rng, number as u64 + 1);
        let mut operation = Operation {
            client: number as u32,
            key: b"k".to_vec(),
            kind,
            invoked_ns,
            outcome: Outcome::Unknown,
        };
        let before = state;
        if rng.random_range(0..4) == 0 {
            // Unknown; half of these take effect at the moment drawn, which may be long after the client gave up.
            if rng.random() {
                explains(&operation, &mut state);
            }
        } else if rng.random_range(0..12) == 0 {
            operation.outcome = Outcome::Failed;
        } else {
            loop {
                state = before;
                let answer = random_answer(rng, kind);
                operation.outcome = Outcome::Ok { returned_ns, answer };
                if explains(&operation, &mut state) {
                    break;
                }
            }
        }
        operations.push(operation);
    }
    if rng.random_range(0..3) > 0 {
        let index = rng.random_range(0..count);
        if let Outcome::Ok { returned_ns, .. } = operations[index].outcome {
            let answer = random_answer(rng, operations[index].kind);
            operations[index].outcome = Outcome::Ok { returned_ns, answer };
        }
    }
    // The order of recording must not matter.
    let turn = rng.random_range(0..count);
    operations.rotate_left(turn);
    operations
}

#[test]
fn agrees_with_every_permutation_of_small_histories() {
    let mut rng = SmallRng::seed_from_u64(20_240_611);
    let (mut linearizable, mut violated, mut with_unknown) = (0, 0, [0, 0]);
    let mut shapes = BTreeSet::new();
    for number in 0..HISTORIES {
        let operations = random_history(&mut rng);
        let expected = brute_force(&operations);
        let has_unknown = operations.iter().any(|o| o.outcome == Outcome::Unknown);
        with_unknown[usize::from(expected)] += u32::from(has_unknown);
        shapes.insert(format!("{:?}", operations.iter().map(|o| (o.kind, o.outcome)).collect::<Vec<_>>()));
        let found = match check(&History::new(operations.clone())) {
            Ok(_) => true,
            Err(Failure::Violation(_)) => false,
            Err(other) => panic!("history {number}: {other}"),
        };
        *(if found { &mut linearizable } else { &mut violated }) += 1;
        assert_eq!(found, expected, "history {number}: {operations:#?}");
    }
    // Both verdicts, with and without unknown operations, and hardly a history twice.
    assert!(linearizable > HISTORIES / 4, "{linearizable} linearizable");
    assert!(violated > HISTORIES / 5, "{violated} violated");
    assert!(with_unknown.iter().all(|&count| count > 4_000), "{with_unknown:?} with unknown operations");
    assert!(shapes.len() > 40_000, "{} distinct", shapes.len());
}

#[test]
fn the_durability_check_raises_no_false_alarm() {
    let mut rng = SmallRng::seed_from_u64(7);
    let (mut losses, mut missed, mut clean) = (0, 0, 0);
    for number in 0..HISTORIES {
        let mut history = History::new(random_history(&mut rng));
        let Answer::Value(last) = random_answer(&mut rng, Kind::Get) else { unreachable!() };
        let finals = BTreeMap::from([(b"k".to_vec(), last)]);
        let durable = durability::check(&history, &finals);
        history.push_final_reads(99, &finals);
        let linearizable = check(&history).is_ok();
        match (&durable, linearizable) {
            (Err(lost), true) => panic!("history {number}: false alarm {lost:?} in {history:#?}"),
            (Err(_), false) => losses += 1,
            (Ok(_), false) => missed += 1,
            (Ok(_), true) => clean += 1,
        }
    }
    // What it misses are mostly wrong reads in between, which are not its task.
    assert!(losses > HISTORIES / 4, "{losses} losses, {missed} missed, {clean} clean");
    assert!(clean > HISTORIES / 10, "{losses} losses, {missed} missed, {clean} clean");
}
