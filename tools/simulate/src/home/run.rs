//! One run: a seed's scenario, its schedule, and the oracles.

use super::client::Client;
use super::cluster::Cluster;
use super::scenario::{Fault, Name, Scenario, Step, Verb};
use super::shadow::Shadow;
use super::structure;
use farrow_fabric_sim::{TaskId, World};
use farrow_layout::RemoteAddr;
use farrow_protocol::{Commit, Event, Events};
use farrow_testkit::history::{Answer, History, Operation, Outcome, Recorder};
use farrow_testkit::linear;
use std::cell::RefCell;
use std::rc::Rc;

/// Events after which a run counts as one that does not end.
const MOST_EVENTS: u64 = 2_000_000;
/// The same where orders are searched: those are small.
const MOST_STEPS: u64 = 6_000;

/// What a run was.
#[derive(Debug, Default)]
pub struct Report {
    /// Operations of all clients.
    pub operations: u64,
    /// Those whose outcome is unknown.
    pub unknown: u64,
    /// Events of the world.
    pub events: u64,
    /// Operations refused for want of a slot.
    pub failed: u64,
    /// Rare paths, and how often they were taken.
    pub seen: Vec<(Event, u64)>,
    /// What the clients were told, and which operations came after which: equal for equal histories.
    pub history: u64,
}

/// Runs a scenario in `world`.
///
/// # Panics
/// When an oracle objects.
pub fn run<C: Commit>(world: &World, commit: C, scenario: &Scenario) -> Report {
    world.note(|| format!("{scenario:?}"));
    let cluster = Cluster::new(world.clone(), scenario.copies);
    cluster.fill(scenario.table);
    let shadow = Shadow::attach(&cluster);
    let new = || Client::new(&cluster, &shadow, commit);
    let mut recorders: Vec<Rc<RefCell<Recorder>>> = Vec::new();

    let put = |key: &Name| Step { verb: Verb::Put, key: *key, cached: false };
    let first = new();
    let seen = first.seen();
    finish(&cluster, first, scenario.present.iter().map(put).collect(), &mut recorders);
    if scenario.fault == Fault::Rot {
        rot(&cluster);
    }
    let tasks: Vec<TaskId> = scenario
        .clients
        .iter()
        .map(|steps| {
            let mut client = new();
            if world.is_chosen() {
                // So that even a client's only operation can be one on what it remembers.
                client.tell(&seen);
            }
            recorders.push(client.recorder());
            world.spawn(&client.fabric(), client.run(steps.clone()))
        })
        .collect();
    if let (Fault::Stop { client, .. }, true) = (scenario.fault, world.is_chosen()) {
        world.spawn_stop(tasks[client]);
    }
    world.search(true);
    go(world, &tasks, scenario.fault);
    world.search(false);
    if world.is_given_up() {
        return Report::default();
    }

    let mut names: Vec<Name> = scenario.present.clone();
    names.extend(scenario.clients.iter().flatten().map(|s| s.key));
    names.sort_unstable();
    names.dedup();
    let look = |key: &Name| Step { verb: Verb::Get, key: *key, cached: false };
    finish(&cluster, new(), names.iter().map(look).collect(), &mut recorders);
    if scenario.fault != Fault::Rot {
        structure::check(&cluster, &shadow, &names, !matches!(scenario.fault, Fault::Stop { .. }));
        // What is left can be worked with.
        let after = [Verb::Put, Verb::Get, Verb::Delete, Verb::Exists];
        let steps = names.iter().flat_map(|key| after.map(|verb| Step { verb, key: *key, cached: true }));
        finish(&cluster, new(), steps.collect(), &mut recorders);
    }

    let operations: Vec<Operation> = recorders.iter().flat_map(|r| take(r).operations().to_vec()).collect();
    let history = History::new(operations);
    if let Err(failure) = linear::check(&history) {
        panic!("{failure}");
    }
    let count = |outcome| history.operations().iter().filter(|o| o.outcome == outcome).count() as u64;
    Report {
        operations: history.operations().len() as u64,
        unknown: count(Outcome::Unknown),
        events: world.trace().events(),
        failed: count(Outcome::Failed),
        seen: paths(&cluster.events),
        history: if world.is_chosen() { digest(&history) } else { 0 },
    }
}

fn paths(events: &Events) -> Vec<(Event, u64)> {
    events.seen().collect()
}

/// Of answers and of the order that the history shows, not of its times.
fn digest(history: &History) -> u64 {
    let operations = history.operations();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |part: u64| hash = (hash ^ part).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    for operation in operations {
        let returned = |other: &Operation| other.outcome.returned_ns().unwrap_or(u64::MAX);
        add(match operation.outcome {
            Outcome::Unknown => 1,
            Outcome::Failed => 2,
            Outcome::Ok { answer, .. } => match answer {
                Answer::Value(value) => 16 + value.map_or(0, |v| v.0 + 1),
                Answer::Present(is) | Answer::Deleted(Some(is)) => 3 + u64::from(is),
                Answer::Applied | Answer::Deleted(None) => 5,
                Answer::Refused => 6,
            },
        });
        add(operations.iter().filter(|other| returned(other) < operation.invoked_ns).count() as u64);
    }
    hash
}

fn take(recorder: &Rc<RefCell<Recorder>>) -> History {
    std::mem::replace(&mut *recorder.borrow_mut(), Recorder::new(0)).finish()
}

/// Runs one client to its end, alone.
fn finish<C: Commit>(
    cluster: &Cluster,
    client: Client<C>,
    steps: Vec<Step>,
    recorders: &mut Vec<Rc<RefCell<Recorder>>>,
) {
    recorders.push(client.recorder());
    let task = cluster.world.spawn(&client.fabric(), client.run(steps));
    go(&cluster.world, &[task], Fault::None);
}

/// Lets everything happen that can, with the fault at its time.
fn go(world: &World, tasks: &[TaskId], fault: Fault) {
    let most = if world.is_chosen() { MOST_STEPS } else { MOST_EVENTS };
    for event in 0..most {
        match fault {
            // There a fault is a step like any other, and standing still is what every order tries.
            _ if world.is_chosen() => {}
            Fault::Stop { client, after } if event == after && !world.has_ended(tasks[client]) => {
                world.stop(tasks[client]);
            }
            Fault::Pause { client, from, .. } if event == from => world.pause(tasks[client]),
            Fault::Pause { client, to, .. } if event == to => world.resume(tasks[client]),
            _ => {}
        }
        if !world.step() {
            if world.is_given_up() {
                return;
            }
            if let Fault::Pause { client, to, .. } = fault
                && !world.is_chosen()
                && event < to
            {
                world.resume(tasks[client]);
                continue;
            }
            let stuck: Vec<_> = tasks.iter().filter(|t| !world.has_ended(**t)).collect();
            assert!(stuck.is_empty(), "nothing can happen any more, but {stuck:?} wait");
            return;
        }
    }
    panic!("the run does not end: {most} events");
}

/// Flips a bit in the last byte of the first unit of each entry at the primary that a client wrote.
fn rot(cluster: &Cluster) {
    let primary = cluster.nodes[0];
    for slot in cluster.slots() {
        let word = cluster.word(primary, slot);
        if word.is_visible() {
            let at = RemoteAddr(cluster.segment().entry(word.pointer()).0 + 60);
            let byte = cluster.world.memory(primary).bytes(at, 1)[0];
            cluster.world.poke(primary, at, &[byte ^ 0x10]);
        }
    }
}
