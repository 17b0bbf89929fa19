//! One run: a seed's scenario, its schedule, and the oracles.

use super::client::Client;
use super::cluster::Cluster;
use super::coordinator::{ClientViews, wrong};
use super::recovery::Lost;
use super::scenario::{Fault, Name, Scenario, Step, Verb, When};
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
    let cluster = Cluster::new(world.clone(), scenario.copies, scenario.spares);
    cluster.fill(scenario.table);
    let shadow = Shadow::attach(&cluster);
    let new = || Client::new(&cluster, &shadow, commit);
    let mut recorders: Vec<Rc<RefCell<Recorder>>> = Vec::new();

    let put = |key: &Name| Step { verb: Verb::Put, key: *key, cached: false };
    let first = new();
    let seen = first.seen();
    finish(&cluster, first, scenario.present.iter().map(put).collect(), &mut recorders);
    let has_rot = scenario.faults.contains(&Fault::Rot);
    if has_rot {
        rot(&cluster);
    }
    let mut crew = Crew::default();
    for steps in &scenario.clients {
        let mut client = new();
        if world.is_chosen() {
            // So that even a client's only operation can be one on what it remembers.
            client.tell(&seen);
        }
        recorders.push(client.recorder());
        crew.views.push(client.views());
        crew.ids.push(client.id());
        crew.tasks.push(world.spawn(&client.fabric(), client.run(steps.clone())));
    }
    let mut faults = scenario.faults.clone();
    if world.is_chosen() {
        // There a fault is a step like any other, and standing still is what every order tries.
        for fault in std::mem::take(&mut faults) {
            if let Fault::Stop { client, .. } = fault {
                world.spawn_stop(crew.tasks[client]);
                continue;
            }
            let (cluster, crew) = (cluster.clone(), crew.clone());
            world.spawn_fault(move |_| {
                happens(&cluster, &crew, fault, 0, |_| true);
            });
        }
    }
    world.search(true);
    go(&cluster, &crew, &faults);
    world.search(false);
    if world.is_given_up() {
        return Report::default();
    }

    let mut names: Vec<Name> = scenario.present.clone();
    names.extend(scenario.clients.iter().flatten().map(|s| s.key));
    names.sort_unstable();
    names.dedup();
    structure::check_recovered(&cluster, &cluster.coordinator.recovered());
    if scenario.spares > 0 {
        let stops = |fault: &Fault| matches!(fault, Fault::Stop { .. });
        structure::check_tables(&cluster, !scenario.faults.iter().any(stops));
        lose_the_old(&cluster);
    }
    let look = |key: &Name| Step { verb: Verb::Get, key: *key, cached: false };
    finish(&cluster, new(), names.iter().map(look).collect(), &mut recorders);
    if !has_rot {
        let stops =
            |fault: &Fault| matches!(fault, Fault::Stop { .. } | Fault::Recover { .. } | Fault::Evict { .. });
        let is_sound = !scenario.faults.iter().any(stops);
        let is_tidy = !scenario.faults.iter().any(|fault| matches!(fault, Fault::LoseLink { .. }));
        structure::check(&cluster, &shadow, &names, is_sound, is_sound && is_tidy);
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
    let (views, ids) = (vec![client.views()], vec![client.id()]);
    let tasks = vec![cluster.world.spawn(&client.fabric(), client.run(steps))];
    go(cluster, &Crew { tasks, views, ids }, &[]);
}

/// The clients of a run, as its faults see them.
#[derive(Clone, Default)]
struct Crew {
    tasks: Vec<TaskId>,
    views: Vec<Rc<ClientViews>>,
    ids: Vec<u32>,
}

/// Lets everything happen that can, with each fault at its time.
fn go(cluster: &Cluster, crew: &Crew, faults: &[Fault]) {
    let world = &cluster.world;
    let swaps = world.swaps();
    let mut to_come: Vec<Fault> = faults.to_vec();
    let most = if world.is_chosen() { MOST_STEPS } else { MOST_EVENTS };
    for event in 0..most {
        let has_come = |when: When| match when {
            When::Events(events) => event >= events,
            When::Swaps(count) => world.swaps() - swaps >= count,
        };
        to_come.retain(|fault| !happens(cluster, crew, *fault, event, has_come));
        if !world.step() {
            if world.is_given_up() {
                return;
            }
            // Nobody moves while somebody stands still: then that is over.
            let paused = faults.iter().find_map(|fault| match fault {
                Fault::Pause { client, to, .. } if event < *to => Some(*client),
                _ => None,
            });
            if let Some(client) = paused.filter(|client| !world.has_ended(crew.tasks[*client])) {
                world.resume(crew.tasks[client]);
                continue;
            }
            let stuck: Vec<_> = crew.tasks.iter().filter(|t| !world.has_ended(**t)).collect();
            assert!(stuck.is_empty(), "nothing can happen any more, but {stuck:?} wait");
            assert!(cluster.coordinator.is_open(), "nothing can happen any more, but the home is closed");
            assert!(cluster.coordinator.is_at_rest(), "nothing can happen any more, but an agent waits");
            return;
        }
    }
    panic!("the run does not end: {most} events");
}

/// Carries a fault out if its time has come; whether it is over.
fn happens(
    cluster: &Cluster,
    crew: &Crew,
    fault: Fault,
    event: u64,
    has_come: impl Fn(When) -> bool,
) -> bool {
    let (world, coordinator) = (&cluster.world, &cluster.coordinator);
    match fault {
        Fault::Stop { client, after } if has_come(after) => {
            if !world.has_ended(crew.tasks[client]) {
                world.stop(crew.tasks[client]);
            }
        }
        Fault::Recover { client, after } if has_come(after) => {
            if !world.has_ended(crew.tasks[client]) {
                world.stop(crew.tasks[client]);
                if crew.views[client].is_evicted() {
                    return true;
                }
                coordinator.begin_recovery(Lost { id: crew.ids[client], views: crew.views[client].clone() });
            }
        }
        Fault::Evict { client, after } if has_come(after) => {
            let (task, views) = (crew.tasks[client], &crew.views[client]);
            if !world.has_ended(task) && !views.is_evicted() {
                coordinator.begin_recovery(Lost { id: crew.ids[client], views: views.clone() });
            }
        }
        Fault::Restore { after } if has_come(after) => {
            coordinator.begin_restore(*cluster.nodes.last().expect("there is a spare"));
        }
        Fault::Pause { client, from, to } => {
            if event == from {
                world.pause(crew.tasks[client]);
            } else if event == to {
                world.resume(crew.tasks[client]);
            }
            return event >= to;
        }
        Fault::LoseLink { client, node, after } if has_come(after) => {
            if let Some(link) = crew.views[client].link_to(cluster.nodes[node]) {
                world.note(|| wrong(&format!("the link of client {} to n{node} is lost", client + 2)));
                world.lose_link(link);
            }
        }
        Fault::LoseNode { node, after } if has_come(after) => coordinator.lose(cluster.nodes[node]),
        Fault::StopAgent { after } if has_come(after) => coordinator.stop_agent(),
        Fault::Fence { after } if has_come(after) => {
            if coordinator.is_open() {
                coordinator.begin_change();
            }
        }
        Fault::Rot => return true,
        _ => return false,
    }
    true
}

/// Where a spare has become a member, all others are lost: it holds everything.
fn lose_the_old(cluster: &Cluster) {
    let (coordinator, members) = (&cluster.coordinator, cluster.coordinator.nodes());
    let spare = *cluster.nodes.last().expect("there is a spare");
    if members.contains(&spare) {
        members.iter().filter(|node| **node != spare).for_each(|node| coordinator.lose(*node));
        go(cluster, &Crew::default(), &[]);
    }
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
