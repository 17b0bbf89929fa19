//! One run: the cluster forms, clients work, things go wrong, everything heals, and what is left is judged.

use super::clock::{Clock, MOST_SKEW};
use super::cluster::Cluster;
use super::machine::Machine;
use super::net::{Net, Party};
use super::office::Office;
use super::oracle;
use super::scenario::{Fault, FaultKind, LEASE, Plan, Scenario, Step, Verb, When};
use super::worker::{self, Handle, Shared};
use crate::region::{self, Expect, Regions};
use crate::sweep::{Ending, Tally};
use farrow_fabric::Nanos;
use farrow_fabric_sim::{TaskId, World};
use farrow_layout::{RemoteAddr, Word};
use farrow_testkit::history::{Answer, History, Outcome, Recorder, ValueId, durability};
use farrow_testkit::linear;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Events after which a run counts as one that does not end.
const MOST_EVENTS: u64 = 5_000_000;
/// Leases within which a cluster that has everything is whole again.
const HEALING_LEASES: u64 = 80;

/// Runs a scenario in `world`.
///
/// # Panics
/// When an oracle objects.
pub fn run(world: &World, scenario: &Scenario) -> Tally {
    world.note(|| format!("{scenario:?}"));
    let _ending = Ending(world);
    let clock = || Clock::new(world.draw(2 * MOST_SKEW + 1));
    let machines = (0..scenario.machines).map(|number| Machine::new(number, clock())).collect();
    let office = Office::new(scenario.settings.clone(), clock(), scenario.store_ns);
    let cluster = Cluster::new(world, Net::new(scenario.way_ns), office, machines, scenario.memory_len);
    let _ended = Ended(&cluster);
    let shared = Shared {
        cluster: cluster.clone(),
        keys: Rc::new(scenario.keys.clone()),
        values: Rc::default(),
        seen: Rc::default(),
    };
    let mut run =
        Run { scenario, cluster: cluster.clone(), shared, clients: Vec::new(), stopped: Cell::new(0) };
    run.form();
    run.work();
    run.heal();
    run.judge();
    run.structure();
    run.tally()
}

/// From then on, nothing that is dropped begins anything.
struct Ended<'a>(&'a Rc<Cluster>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.is_ended.set(true);
    }
}

struct Client {
    task: TaskId,
    handle: Handle,
    is_stopped: bool,
}

struct Run<'a> {
    scenario: &'a Scenario,
    cluster: Rc<Cluster>,
    shared: Shared,
    clients: Vec<Client>,
    stopped: Cell<u64>,
}

impl Run<'_> {
    /// Lets events happen until `is_done`, for at most so many leases.
    fn until(&self, what: &str, leases: u64, is_done: impl Fn() -> bool) {
        let end = self.cluster.now() + Duration::from_nanos(leases * LEASE);
        for _ in 0..MOST_EVENTS {
            if is_done() {
                return;
            }
            if self.cluster.now() > end || !self.cluster.world.step() {
                let state = self.cluster.office.latest();
                panic!("{what}: not within {leases} leases; the coordinator has {state:?}");
            }
        }
        panic!("{what}: {MOST_EVENTS} events");
    }

    fn form(&self) {
        let cluster = &self.cluster;
        cluster.open_office();
        (0..cluster.machines.len()).for_each(|machine| cluster.start_machine(machine));
        self.until("forming", 20, || cluster.machines.iter().all(|machine| machine.life().is_some()));
    }

    fn client(&mut self, plan: Plan) -> usize {
        let fabric = self.cluster.world.fabric(64 << 20);
        let number = self.clients.len();
        let recorder = Rc::new(RefCell::new(Recorder::new(1 + number as u32)));
        let handle = || Handle {
            fabric: fabric.clone(),
            recorder: recorder.clone(),
            process: Rc::default(),
            begun: Rc::default(),
            errors: Rc::default(),
        };
        let (kept, mut given) = (handle(), handle());
        given.process = kept.process.clone();
        given.begun = kept.begun.clone();
        given.errors = kept.errors.clone();
        let task = self.cluster.world.spawn(&fabric, worker::run(self.shared.clone(), number, plan, given));
        self.clients.push(Client { task, handle: kept, is_stopped: false });
        number
    }

    /// The clients of the scenario, with its faults.
    fn work(&mut self) {
        for plan in self.scenario.clients.clone() {
            self.client(plan);
        }
        let begun = self.cluster.now();
        let mut faults: Vec<Fault> = self.scenario.faults.clone();
        let first = self.cluster.marks();
        // How often each has happened, and how many events ago the last time was.
        let mut marked = first.map(|count| (count, 0u64));
        let mut since_step = vec![(0, 0u64); self.clients.len()];
        for _ in 0..MOST_EVENTS {
            for ((step, events), client) in since_step.iter_mut().zip(&self.clients) {
                let begun = client.handle.begun.get();
                (*step, *events) = if begun == *step { (begun, *events + 1) } else { (begun, 0) };
            }
            for (now, (count, since)) in self.cluster.marks().into_iter().zip(&mut marked) {
                (*count, *since) = if now == *count { (now, *since + 1) } else { (now, 0) };
            }
            let is_due = |fault: &Fault| match fault.when {
                When::Step(client, number, events) => {
                    let (begun, passed) = since_step[client];
                    begun > number || begun == number && passed >= events
                }
                When::At(at) => self.cluster.now().since(begun) >= at,
                When::After(mark, number, events) => {
                    let (count, since) = marked[mark as usize];
                    let passed = count - first[mark as usize];
                    passed > number || passed == number && since >= events
                }
            };
            let (due, left): (Vec<_>, Vec<_>) = faults.into_iter().partition(is_due);
            faults = left;
            for fault in due {
                self.befall(fault.kind);
            }
            let is_over = self.cluster.now().since(begun) > 30 * LEASE;
            let world = &self.cluster.world;
            if is_over || faults.is_empty() && self.clients.iter().all(|c| world.has_ended(c.task)) {
                return;
            }
            assert!(world.step(), "nodes beat for ever");
        }
        panic!("the clients do not come to an end: {MOST_EVENTS} events");
    }

    fn befall(&mut self, kind: FaultKind) {
        let cluster = self.cluster.clone();
        let whole = |each: fn(usize) -> FaultKind| (0..cluster.machines.len()).map(each).collect::<Vec<_>>();
        match (kind, cluster.agent.get()) {
            (FaultKind::KillAgent, Some(machine)) => {
                return self.befall_agent(FaultKind::Kill(machine), machine, "lost");
            }
            (FaultKind::PauseAgent, Some(machine)) => {
                return self.befall_agent(FaultKind::Pause(machine), machine, "lost");
            }
            (FaultKind::CutAgent, Some(machine)) => {
                let kind = FaultKind::Cut(Party::Office, Party::Machine(machine));
                return self.befall_agent(kind, machine, "cut");
            }
            (FaultKind::KillAgent | FaultKind::PauseAgent | FaultKind::CutAgent, None) => return,
            (FaultKind::RestartAll, _) => {
                return whole(FaultKind::Restart).into_iter().for_each(|kind| self.befall(kind));
            }
            (FaultKind::ResumeAll, _) => {
                return whole(FaultKind::Resume).into_iter().for_each(|kind| self.befall(kind));
            }
            _ => {}
        }
        if !cluster.may(kind, self.scenario.is_reckless) {
            return cluster.world.note(|| format!("{kind:?} would take the last copy"));
        }
        cluster.world.note(|| format!("{kind:?}"));
        if matches!(kind, FaultKind::CrashCoordinator | FaultKind::PauseCoordinator)
            && cluster.office.is_running()
        {
            self.shared.see(&format!("coordinator_lost_at_{}", cluster.office.doing()), 1);
        }
        match kind {
            FaultKind::HealAll => cluster.net.heal_all(),
            FaultKind::KillAgent
            | FaultKind::PauseAgent
            | FaultKind::CutAgent
            | FaultKind::RestartAll
            | FaultKind::ResumeAll => {
                unreachable!("these are faults of certain machines by now")
            }
            FaultKind::Kill(machine) => cluster.kill_machine(machine),
            FaultKind::Restart(machine) => cluster.start_machine(machine),
            FaultKind::Pause(machine) => cluster.pause_machine(machine),
            FaultKind::Resume(machine) => cluster.resume_machine(machine),
            FaultKind::Cut(from, to) => {
                cluster.net.cut(from, to);
                for (from, to) in [(from, to), (to, from)] {
                    if let Party::Machine(machine) = from {
                        let life = cluster.machines[machine].life();
                        life.into_iter().for_each(|life| life.lose_links(&cluster, to));
                    }
                }
            }
            FaultKind::Heal(from, to) => cluster.net.heal(from, to),
            FaultKind::CrashCoordinator => cluster.crash_office(),
            FaultKind::StartCoordinator => cluster.open_office(),
            FaultKind::PauseCoordinator => cluster.pause_office(),
            FaultKind::ResumeCoordinator => cluster.resume_office(),
            FaultKind::StopClient(client) => self.stop_client(client),
            FaultKind::PauseClient(client) => {
                cluster.world.pause(self.clients[client].task);
                self.process(client).inspect(|process| process.pause());
            }
            FaultKind::ResumeClient(client) => {
                cluster.world.resume(self.clients[client].task);
                self.process(client).inspect(|process| process.resume());
            }
        }
    }

    /// Somebody's agent is lost in the middle of something.
    fn befall_agent(&mut self, kind: FaultKind, machine: usize, how: &str) {
        if let Some(life) = self.cluster.machines[machine].life()
            && self.cluster.may(kind, self.scenario.is_reckless)
        {
            self.shared.see(&format!("agent_{how}_at_{}", life.doing.get()), 1);
        }
        self.befall(kind);
    }

    fn process(&self, client: usize) -> Option<Rc<super::process::Process>> {
        self.clients[client].handle.process.borrow().clone()
    }

    fn stop_client(&mut self, client: usize) {
        if self.cluster.world.has_ended(self.clients[client].task) {
            return;
        }
        self.stopped.set(self.stopped.get() + 1);
        self.clients[client].is_stopped = true;
        self.cluster.world.stop(self.clients[client].task);
        self.process(client).inspect(|process| process.stop());
    }

    /// Faults stop; in the end everybody is done, and every home has all its copies.
    fn heal(&mut self) {
        let cluster = self.cluster.clone();
        cluster.world.note(|| "everything heals".to_owned());
        cluster.net.heal_all();
        cluster.resume_office();
        cluster.open_office();
        for machine in 0..cluster.machines.len() {
            cluster.resume_machine(machine);
            cluster.start_machine(machine);
        }
        for client in 0..self.clients.len() {
            self.befall(FaultKind::ResumeClient(client));
        }
        let everybody = || self.clients.iter().all(|c| cluster.world.has_ended(c.task));
        self.until("the clients' steps", HEALING_LEASES, everybody);
        // A node that was cut off until now is passed over within a lease, though it serves by its peers' promises.
        let since = Cell::new(None);
        let is_whole_for_long = || {
            let is_whole = self.is_whole();
            since.set(since.get().or(Some(cluster.now())).filter(|_| is_whole));
            since.get().is_some_and(|since: Nanos| cluster.now().0 - since.0 > cluster.lease_ns())
        };
        self.until("restoring redundancy", HEALING_LEASES, is_whole_for_long);
    }

    fn is_whole(&self) -> bool {
        let Some(state) = self.cluster.office.latest() else { return false };
        let map = &state.map;
        let is_left =
            |home: &farrow_control::map::HomeEntry| self.scenario.is_reckless && home.members.is_empty();
        // What is stored may be older than a death, or than a lease that has ended.
        let is_served = |home: &farrow_control::map::HomeEntry| {
            home.members.iter().all(|m| self.cluster.serves(&map.nodes[usize::from(m.node.0)]))
        };
        map.homes
            .iter()
            .all(|home| is_left(home) || home.is_open && map.missing(home) == 0 && is_served(home))
            && state.orders.is_empty()
            && state.gone.is_empty()
            && state.deposing.is_empty()
    }

    /// A client without haste that does these steps alone.
    fn alone(&mut self, steps: Vec<Step>) -> Rc<RefCell<Recorder>> {
        let plan = Plan { steps, deadline: Duration::MAX, cache_entries: 64, is_undemanding: false };
        let number = self.client(plan);
        let task = self.clients[number].task;
        let world = self.cluster.world.clone();
        self.until("a client that is alone", HEALING_LEASES, || world.has_ended(task));
        let errors = self.clients[number].handle.errors.borrow();
        assert!(errors.is_empty() || self.scenario.is_reckless, "nothing is wrong, but: {errors:?}");
        drop(errors);
        self.clients[number].handle.recorder.clone()
    }

    fn history(&self) -> History {
        let all = self.clients.iter().flat_map(|c| c.handle.recorder.borrow().operations().to_vec());
        History::new(all.collect())
    }

    fn judge(&mut self) {
        let step = |verb, key| Step { after_ns: 0, verb, key, len: 8 };
        let keys = 0..self.scenario.keys.len();
        let recorder = self.alone(keys.clone().map(|key| step(Verb::Get, key)).collect());
        let mut finals: BTreeMap<Vec<u8>, Option<ValueId>> = BTreeMap::new();
        for operation in recorder.borrow().operations() {
            if let Outcome::Ok { answer: Answer::Value(value), .. } = operation.outcome {
                finals.insert(operation.key.clone(), value);
            }
        }
        assert!(
            finals.len() == self.scenario.keys.len() || self.scenario.is_reckless,
            "every key can be read"
        );
        let history = self.history();
        let readable = history.operations().iter().filter(|o| finals.contains_key(&o.key)).cloned().collect();
        if let Err(losses) = durability::check(&readable, &finals) {
            panic!("{}", losses.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
        let verbs = [Verb::Put, Verb::Get, Verb::Delete, Verb::Exists];
        self.alone(keys.flat_map(|key| verbs.map(|verb| step(verb, key))).collect());
        if let Err(failure) = linear::check(&self.history()) {
            panic!("{failure}");
        }
    }

    /// What the memories of all members hold, once everybody who is gone was cleaned up behind.
    fn structure(&self) {
        let cluster = &self.cluster;
        let is_quiet = || {
            let state = cluster.office.latest().expect("it is stored");
            state.clients.is_empty() && state.orders.is_empty()
        };
        self.until("cleaning up behind clients", HEALING_LEASES, is_quiet);
        // Primaries may have named owners that are nobody's just before that.
        let rest = cluster.now() + Duration::from_nanos(4 * LEASE);
        while cluster.now() < rest {
            assert!(cluster.world.step(), "nodes beat for ever");
        }
        self.until("cleaning up behind owners", HEALING_LEASES, is_quiet);
        let rest = cluster.now() + Duration::from_nanos(LEASE);
        while cluster.now() < rest {
            assert!(cluster.world.step(), "nodes beat for ever");
        }
        let state = cluster.office.latest().expect("it is stored");
        let map = &state.map;
        let lives: Vec<_> =
            map.nodes.iter().filter(|n| n.is_up()).filter_map(|n| cluster.life_of(n)).collect();
        let memories: Vec<_> = lives.iter().map(|life| cluster.world.memory(life.node)).collect();
        let regions: Regions<'_> = lives
            .iter()
            .zip(&memories)
            .map(|(life, memory)| (life.node, memory.bytes(RemoteAddr(0), memory.len() as usize)))
            .collect();
        let is_patient = |plan: &Plan| plan.deadline == Duration::MAX;
        let is_sound = self.scenario.clients.iter().all(is_patient)
            && self.stopped.get() == 0
            && self.history().operations().iter().all(|o| o.outcome != Outcome::Unknown);
        let may_be_rotten = |_, _: Word| false;
        let expect = Expect { is_sound, is_left: true, may_be_rotten: &may_be_rotten };
        if let Err(why) = region::check(map, &regions, &expect) {
            panic!("{why}");
        }
        oracle::assert_accounted(cluster, map);
    }

    fn tally(&self) -> Tally {
        let history = self.history();
        let count = |outcome| history.operations().iter().filter(|o| o.outcome == outcome).count() as u64;
        let state = self.cluster.office.latest().expect("it is stored");
        let nodes_lost = state.map.nodes.iter().filter(|n| !n.is_up()).count() as u64;
        self.shared.see("nodes_lost", nodes_lost);
        self.shared.see("clients_crashed", self.stopped.get());
        self.shared.see("clients_recovered", self.cluster.office.recovered.get());
        self.shared.see("orphans_recovered", self.cluster.office.orphans.get());
        let seen = self.shared.seen.borrow().clone();
        Tally {
            operations: history.operations().len() as u64,
            unknown: count(Outcome::Unknown),
            failed: count(Outcome::Failed),
            events: self.cluster.world.trace().events(),
            seen,
        }
    }
}
