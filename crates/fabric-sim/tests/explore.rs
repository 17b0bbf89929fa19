//! The search, on programs small enough to run every single schedule of: a reduction must reach every outcome that there
//! is, and only those.

use farrow_fabric::{Chain, Fabric, Link, join_all};
use farrow_fabric_sim::explore::{Counts, Explorer, Reduction, Search};
use farrow_fabric_sim::{Choices, Grain, Mark, Options, Pace, Point, Replay, Seed, TaskId, World};
use farrow_layout::{NodeId, RemoteAddr};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// What a run leaves behind: memories, and for each operation its answers and the operations that it came after.
type Outcome = (Vec<u64>, Vec<Vec<u64>>);
/// When an operation was called and returned, and its answers.
type Logged = (u64, u64, Vec<u64>);

#[derive(Clone, Debug)]
enum Op {
    /// Chains, each to a node, posted at once and awaited together.
    Post(Vec<(u16, Vec<Verb>)>),
    /// A chain that nobody waits for.
    Behind(u16, Vec<Verb>),
    /// Until the first of the two answers.
    Race(u16, u16),
    Sleep,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Read(u64),
    Write(u64, u64),
    Swap(u64, u64, u64),
    Add(u64),
    /// Two words at once, from the first.
    Wide(u64),
}

#[derive(Clone, Debug)]
struct Program {
    clients: Vec<Vec<Op>>,
    stops: Option<usize>,
    /// The search is not told whose fault it is.
    is_anybodys: bool,
}

fn chain(verbs: &[Verb]) -> Chain {
    verbs.iter().fold(Chain::new(), |chain, verb| match *verb {
        Verb::Read(at) => chain.read_word(RemoteAddr(at * 8)),
        Verb::Write(at, word) => chain.write_word(RemoteAddr(at * 8), word),
        Verb::Swap(at, old, new) => chain.compare_swap(RemoteAddr(at * 8), old, new),
        Verb::Add(at) => chain.fetch_add(RemoteAddr(at * 8), 1),
        Verb::Wide(at) => chain.read_word_pair(RemoteAddr(at * 8)),
    })
}

const NODES: usize = 2;
const WORDS: u64 = 3;

fn run(program: &Program, grain: Grain, choices: impl Choices + 'static) -> Option<Outcome> {
    let world = World::new(Options { grain, pace: Pace::Chosen, record: false }, choices);
    let nodes: Vec<NodeId> = (0..NODES).map(|_| world.node(64)).collect();
    let clock = Rc::new(Cell::new(0u64));
    let log: Rc<RefCell<Vec<Logged>>> = Rc::default();
    let tasks: Vec<TaskId> = program
        .clients
        .iter()
        .map(|ops| {
            let fabric = world.fabric(1 << 16);
            let links: Vec<_> = nodes.iter().map(|n| fabric.link(*n)).collect();
            let (ops, clock, log, world) = (ops.clone(), clock.clone(), log.clone(), world.clone());
            let first = log.borrow().len();
            log.borrow_mut().extend(ops.iter().map(|_| (u64::MAX, u64::MAX, Vec::new())));
            let tick = move || {
                clock.set(clock.get() + 1);
                clock.get()
            };
            world.clone().spawn(&fabric.clone(), async move {
                for (i, op) in ops.into_iter().enumerate() {
                    world.mark(Mark::Called);
                    log.borrow_mut()[first + i].0 = tick();
                    let mut words = Vec::new();
                    match op {
                        Op::Post(chains) => {
                            let post = |(node, verbs): &(u16, Vec<Verb>)| {
                                links[usize::from(*node)].post(chain(verbs))
                            };
                            let posted: Vec<_> = chains.iter().map(post).collect();
                            for answer in join_all(posted).await {
                                words.extend(answer.iter().flatten().copied());
                            }
                        }
                        Op::Behind(node, verbs) => drop(links[usize::from(node)].post(chain(&verbs))),
                        Op::Race(a, b) => {
                            let mut both =
                                [a, b].map(|n| Box::pin(links[usize::from(n)].post(chain(&[Verb::Read(0)]))));
                            let first = std::future::poll_fn(|cx| {
                                let mut done = both.iter_mut().enumerate();
                                match done.find_map(|(i, f)| match f.as_mut().poll(cx) {
                                    std::task::Poll::Ready(answer) => Some((i, answer)),
                                    std::task::Poll::Pending => None,
                                }) {
                                    Some((i, answer)) => std::task::Poll::Ready((i, answer.expect("up")[0])),
                                    None => std::task::Poll::Pending,
                                }
                            });
                            let (which, word) = first.await;
                            words.extend([which as u64, word]);
                        }
                        Op::Sleep => fabric.sleep_until(fabric.now() + Duration::from_nanos(5)).await,
                    }
                    world.mark(Mark::Returned);
                    let mut log = log.borrow_mut();
                    (log[first + i].1, log[first + i].2) = (tick(), words);
                }
            })
        })
        .collect();
    if let Some(client) = program.stops {
        let task = tasks[client];
        if program.is_anybodys {
            world.spawn_fault(move |world| world.stop(task));
        } else {
            world.spawn_stop(task);
        }
    }
    world.search(true);
    assert!(world.run(10_000));
    world.search(false);
    if world.is_given_up() {
        world.end();
        return None;
    }
    let words = nodes.iter().flat_map(|n| (0..WORDS).map(|i| world.memory(*n).word(RemoteAddr(8 * i))));
    let log = log.borrow();
    let told = log.iter().map(|(called, returned, words)| {
        let mut all = words.clone();
        all.push(u64::from(*called != u64::MAX) << 1 | u64::from(*returned != u64::MAX));
        all.extend((0..log.len() as u64).filter(|i| log[*i as usize].1 < *called).map(|i| 100 + i));
        all
    });
    Some((words.collect(), told.collect()))
}

/// All outcomes that a search reaches.
fn search(program: &Program, grain: Grain, search: Search, most: u64) -> Option<(BTreeSet<Outcome>, Counts)> {
    let explorer = Explorer::new(search);
    let mut outcomes = BTreeSet::new();
    loop {
        outcomes.extend(run(program, grain, explorer.walk()));
        if !explorer.advance() {
            return Some((outcomes, explorer.counts()));
        }
        if explorer.counts().schedules + explorer.counts().pruned >= most {
            return None;
        }
    }
}

fn draw(seed: u64) -> Program {
    let mut choices = Seed::new(seed);
    let mut below = |count: u64| choices.below(count, Point::Scenario);
    let mut ops = 0;
    let clients = (0..2 + u64::from(below(4) == 0))
        .map(|client| {
            let verb = |below: &mut dyn FnMut(u64) -> u64| {
                let at = below(WORDS - 1);
                match below(8) {
                    0 | 1 => Verb::Read(at),
                    2 | 3 => Verb::Write(at, 10 + client),
                    4 | 5 => Verb::Swap(at, below(2) * 10, 20 + client),
                    6 => Verb::Add(at),
                    _ => Verb::Wide(at),
                }
            };
            let count = 1 + below(2);
            let mut list = Vec::new();
            for _ in 0..count {
                if ops >= 3 {
                    break;
                }
                ops += 1;
                let node = below(2) as u16;
                list.push(match below(9) {
                    0 => Op::Race(0, 1),
                    1 => Op::Sleep,
                    2 => Op::Behind(node, vec![verb(&mut below)]),
                    3 | 4 => Op::Post(vec![(0, vec![verb(&mut below)]), (1, vec![verb(&mut below)])]),
                    5 => Op::Post(vec![(node, vec![verb(&mut below), verb(&mut below)])]),
                    _ => Op::Post(vec![(node, vec![verb(&mut below)])]),
                });
            }
            list
        })
        .collect();
    let stops = (below(3) == 0).then_some(0);
    Program { clients, stops, is_anybodys: seed.is_multiple_of(5) }
}

#[test]
fn a_reduction_reaches_every_outcome_and_no_other() {
    let (mut compared, mut all, mut slept, mut reduced) = (0, 0, 0, 0);
    for seed in 0..300 {
        let program = draw(seed);
        let with = |reduction| Search { reduction, pieces: seed % 4 == 0, ..Search::ALL };
        let grain = if seed % 4 == 0 { Grain::Words } else { Grain::Whole };
        let Some((full, plain)) = search(&program, grain, with(Reduction::None), 4_000) else { continue };
        compared += 1;
        all += plain.schedules;
        let joins = !program.clients.iter().flatten().any(|op| matches!(op, Op::Race(..)));
        let partial = Search { partial_polls: !joins, ..with(Reduction::Source) };
        for search_with in [with(Reduction::Sleep), with(Reduction::Source), partial] {
            let reduction = search_with.reduction;
            let (found, counts) =
                search(&program, grain, search_with, u64::MAX).expect("it has fewer schedules");
            let missed: Vec<_> = full.difference(&found).collect();
            assert!(missed.is_empty(), "seed {seed}, {reduction:?} misses {missed:?} of {program:?}");
            assert_eq!(found, full, "seed {seed}, {reduction:?}");
            match reduction {
                Reduction::Sleep => slept += counts.schedules + counts.pruned,
                _ => reduced += counts.schedules + counts.pruned,
            }
        }
    }
    println!("{compared} programs: {all} schedules, {slept} with sleep sets, {reduced} with source sets");
    assert!(compared > 80, "{compared}");
    assert!(reduced * 10 < all, "{reduced} of {all}");
}

/// A lock of two steps where one would do: look, and then write.
fn broken() -> Program {
    let take =
        |me| vec![Op::Post(vec![(0, vec![Verb::Read(0)])]), Op::Post(vec![(0, vec![Verb::Write(0, me)])])];
    Program { clients: vec![take(1), take(2)], stops: None, is_anybodys: false }
}

/// Both saw the word free before either had taken it.
fn is_wrong(outcome: &Outcome) -> bool {
    [0, 2].iter().all(|i| outcome.1[*i][0] == 0)
}

#[test]
fn a_broken_protocol_is_found_by_every_search_and_the_run_is_repeated_from_its_list() {
    let all = [Reduction::None, Reduction::Sleep, Reduction::Source]
        .map(|reduction| Search { reduction, ..Search::ALL })
        .into_iter()
        .chain([Search::delayed(1)]);
    for search in all {
        let explorer = Explorer::new(search);
        let found = loop {
            if run(&broken(), Grain::Whole, explorer.walk()).is_some_and(|o| is_wrong(&o)) {
                break explorer.list();
            }
            assert!(explorer.advance(), "{search:?} does not find it");
        };
        let again = run(&broken(), Grain::Whole, Replay::new(found)).expect("a replay ends");
        assert!(is_wrong(&again), "{search:?}");
    }
    let explorer = Explorer::new(Search::delayed(0));
    let outcome = run(&broken(), Grain::Whole, explorer.walk()).expect("no bound gives a run up");
    assert!(!is_wrong(&outcome) && !explorer.advance(), "without a delay one comes after the other");
}

#[test]
fn delays_reach_more_and_more() {
    let program = Program { clients: draw(11).clients, stops: None, is_anybodys: false };
    let count = |delays| {
        let found = search(&program, Grain::Whole, Search::delayed(delays), 2_000_000).expect("few");
        (found.0.len(), found.1.schedules)
    };
    let counts: Vec<_> = (0..4).map(count).collect();
    assert_eq!(counts[0].1, 1, "{counts:?}");
    assert!(counts.is_sorted() && counts[3].0 > 1, "{counts:?}");
}

#[test]
fn a_reduction_runs_one_schedule_where_nothing_is_shared() {
    let mine = |at| vec![Op::Post(vec![(0, vec![Verb::Write(at, 1), Verb::Add(at)])])];
    let program = Program { clients: vec![mine(0), mine(1)], stops: None, is_anybodys: false };
    let found = search(&program, Grain::Whole, Search::ALL, u64::MAX).expect("without a bound");
    // Either may be called before or after the other has returned, or meanwhile.
    assert_eq!((found.0.len(), found.1.pruned), (3, 0), "{found:?}");
    assert_eq!(found.1.schedules, 3);
}

#[test]
fn waiting_by_looking_again_is_bounded_and_said() {
    let program = Program {
        clients: vec![vec![Op::Sleep, Op::Sleep], vec![Op::Post(vec![(0, vec![Verb::Add(0)])])]],
        stops: None,
        is_anybodys: false,
    };
    let bounded = Search { early_timers: 1, ..Search::ALL };
    let (few, counts) = search(&program, Grain::Whole, bounded, u64::MAX).expect("without a bound");
    let (all, free) = search(&program, Grain::Whole, Search::ALL, u64::MAX).expect("without a bound");
    assert!(counts.timers_held > 0 && free.timers_held == 0, "{counts:?} {free:?}");
    assert!(few.is_subset(&all) && few.len() < all.len(), "{} of {}", few.len(), all.len());
}
