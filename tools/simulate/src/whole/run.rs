//! One run: a scenario, its faults, and the oracles.

use super::client::{Client, Handle, Shared};
use super::cluster::Cluster;
use super::mailbox::Mailbox;
use super::probes::Probes;
use super::rot::{Rotten, rot};
use super::scenario::{
    AMPLE_BUFFERS, ClientPlan, Fault, FaultKind, MOST_IN_BATCH, PATIENCE, Scenario, Step, Verb,
};
use crate::region::{self, Expect, Regions};
use crate::sweep::{Ending, Tally};
use farrow_control::map::CommitKind;
use farrow_fabric_sim::{TaskId, World};
use farrow_layout::{ExtentState, ExtentWord, HomeId, KeyHash, RemoteAddr, SlotAddr, SlotIndex, Word};
use farrow_testkit::history::{Answer, History, Kind, Operation, Outcome, Recorder, durability};
use farrow_testkit::linear;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Events after which a run counts as one that does not end.
const MOST_EVENTS: u64 = 5_000_000;

/// Grants that a client may have got in one home and not used: for each PUT of the largest batch one of each size, from one
/// extent to four, and one ahead of need. Operations whose deadlines pass, however many, must not cost one each.
const MOST_WASTED: usize = 4 * MOST_IN_BATCH as usize + 1;

/// Runs a scenario in `world`.
///
/// # Panics
/// When an oracle objects.
pub fn run(world: &World, scenario: &Scenario) -> Tally {
    world.note(|| format!("{scenario:?}"));
    let _ending = Ending(world);
    let cluster = Cluster::new(world, scenario.map.clone(), scenario.control);
    let crowd = scenario.crowd.iter().flat_map(|crowd| &crowd.keys);
    let shared = Shared {
        cluster: cluster.clone(),
        keys: Rc::new(scenario.keys.iter().chain(crowd).cloned().collect()),
        probes: Probes::default(),
        values: Rc::default(),
        may_be_crowded: scenario.crowd.is_some(),
    };
    let mut run = Run { scenario, shared, handles: Vec::new(), rotten: Rotten::new() };
    run.fill();
    run.clients();
    run.rest();
    let finals = run.look();
    run.judge(&finals);
    run.work();
    run.rest();
    run.structure();
    run.tally()
}

struct Run<'a> {
    scenario: &'a Scenario,
    shared: Shared,
    handles: Vec<Handle>,
    rotten: Rotten,
}

impl Run<'_> {
    fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    fn world(&self) -> &World {
        &self.shared.cluster.world
    }

    /// A client without haste that does these steps alone, to its end.
    fn alone(&mut self, steps: Vec<Step>) -> &Handle {
        let (client, handle) = Client::new(&self.shared, &self.patient());
        let task = self.world().spawn(&handle.fabric, client.run(steps));
        self.handles.push(handle);
        self.go(&[task], &[], Vec::new());
        self.handles.last().expect("just pushed")
    }

    fn patient(&self) -> ClientPlan {
        // A round of SNAPSHOT whose winner is gone keeps its losers waiting.
        let is_patient = self.scenario.clients.iter().all(|c| c.deadline == Duration::MAX);
        let is_bounded = self.scenario.map.commit == CommitKind::Snapshot && !is_patient;
        let deadline = if is_bounded { PATIENCE } else { Duration::MAX };
        ClientPlan {
            steps: Vec::new(),
            cache_entries: 64,
            deadline,
            buffer_limit: AMPLE_BUFFERS,
            lingers: true,
        }
    }

    /// What is there before the clients come.
    fn fill(&mut self) {
        let one = |verb, key, len| Step { verb, keys: vec![key], len };
        let ours = self.scenario.keys.len();
        let present = self.scenario.present.iter();
        let mut steps: Vec<Step> = present.map(|key| one(Verb::Put, *key, 8)).collect();
        if let Some(crowd) = &self.scenario.crowd {
            steps.extend((0..crowd.keys.len()).map(|i| one(Verb::Put, ours + i, 8)));
            steps.extend((0..crowd.removed).map(|i| one(Verb::Delete, ours + i, 0)));
        }
        if !steps.is_empty() {
            self.alone(steps);
        }
    }

    /// The clients of the scenario, with its faults.
    fn clients(&mut self) {
        let scenario = self.scenario;
        if let Some((node, extra_ns)) = scenario.slow {
            self.world().slow_down(node, extra_ns);
        }
        let mut tasks = Vec::new();
        let first = self.handles.len();
        for plan in &scenario.clients {
            let (client, handle) = Client::new(&self.shared, plan);
            tasks.push(self.world().spawn(&handle.fabric, client.run(plan.steps.clone())));
            self.handles.push(handle);
        }
        let indices: Vec<usize> = (first..self.handles.len()).collect();
        self.go(&tasks, &indices, scenario.faults.clone());
    }

    /// Lets everything happen that can, with each fault at its time.
    fn go(&mut self, tasks: &[TaskId], handles: &[usize], faults: Vec<Fault>) {
        let world = self.world().clone();
        let mut faults = faults.into_iter().peekable();
        let mut have_rung = false;
        for event in 0..MOST_EVENTS {
            while let Some(fault) = faults.next_if(|f| f.after <= event) {
                self.befall(tasks, handles, fault.kind);
            }
            if tasks.iter().all(|t| world.has_ended(*t)) {
                // Their control tasks still have to say goodbye.
                for fault in faults.filter(|f| matches!(f.kind, FaultKind::Resume(_))) {
                    self.befall(tasks, handles, fault.kind);
                }
                return;
            }
            if !world.step() {
                // Nothing can happen before the next fault: it comes now, or those who pause would wait for ever.
                if let Some(fault) = faults.next() {
                    self.befall(tasks, handles, fault.kind);
                    continue;
                }
                // Those that linger leave now.
                let bells = || self.handles.iter().filter_map(|h| h.bell.as_ref());
                if !std::mem::replace(&mut have_rung, true) {
                    bells().for_each(Mailbox::close);
                    continue;
                }
                let stuck: Vec<_> = tasks.iter().filter(|t| !world.has_ended(**t)).collect();
                panic!("nothing can happen any more, but {stuck:?} wait");
            }
        }
        panic!("the run does not end: {MOST_EVENTS} events");
    }

    fn befall(&mut self, tasks: &[TaskId], handles: &[usize], fault: FaultKind) {
        let cluster = self.cluster().clone();
        let world = &cluster.world;
        world.note(|| format!("{fault:?}"));
        match fault {
            FaultKind::Stop(client) => {
                let handle = &self.handles[handles[client]];
                if world.has_ended(tasks[client]) {
                    return;
                }
                handle.desks.die(&cluster);
                world.stop(tasks[client]);
                cluster.reach.note_stopped(handle.id);
            }
            FaultKind::Pause(client, with_control) => {
                world.pause(tasks[client]);
                if with_control {
                    self.handles[handles[client]].desks.workers().for_each(|worker| world.pause(worker));
                }
            }
            FaultKind::Resume(client) => {
                world.resume(tasks[client]);
                self.handles[handles[client]].desks.workers().for_each(|worker| world.resume(worker));
            }
            FaultKind::LoseLink(client, node) => {
                let id = self.handles[handles[client]].id;
                cluster.reach.lose_link(id, node);
                world.lose_link(cluster.link(id, node));
            }
            FaultKind::LoseSession(client, node) => {
                let handle = &self.handles[handles[client]];
                cluster.reach.lose_session(handle.id, node);
                handle.desks.lose(node);
            }
            FaultKind::Kill(node) => {
                cluster.reach.lose_node(node);
                world.kill_node(node);
                self.handles.iter().for_each(|handle| handle.desks.lose(node));
            }
            FaultKind::Rot { everywhere } => rot(&cluster, everywhere, &mut self.rotten),
        }
    }

    /// Nothing is on its way any more.
    fn rest(&self) {
        assert!(self.world().run(MOST_EVENTS), "the world does not come to rest");
    }

    /// What a fresh client finds under each key that it can read.
    fn look(&mut self) -> BTreeMap<Vec<u8>, Option<farrow_testkit::history::ValueId>> {
        let keys = self.shared.keys.len();
        let steps = (0..keys).map(|key| Step { verb: Verb::Get, keys: vec![key], len: 0 }).collect();
        let recorder = self.alone(steps).recorder.clone();
        let mut finals = BTreeMap::new();
        for operation in take(&recorder).operations() {
            if let Outcome::Ok { answer: Answer::Value(value), .. } = operation.outcome {
                finals.insert(operation.key.clone(), value);
            }
        }
        finals
    }

    /// Linearizability of all that was answered, and durability of what is left.
    fn judge(&mut self, finals: &BTreeMap<Vec<u8>, Option<farrow_testkit::history::ValueId>>) {
        let mut history = self.history();
        // Keys that cannot be read now are unavailable: that is judged by the table of errors.
        let readable = history.operations().iter().filter(|o| finals.contains_key(&o.key)).cloned().collect();
        if let Err(losses) = durability::check(&readable, finals) {
            panic!("{}", losses.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
        history.push_final_reads(0, finals);
        if let Err(failure) = linear::check(&history) {
            panic!("{failure}");
        }
    }

    fn history(&self) -> History {
        let operations = self.handles.iter().flat_map(|h| peek(&h.recorder));
        History::new(operations.collect())
    }

    /// What is left can be worked with: a fresh client puts, reads and removes every key.
    fn work(&mut self) {
        let each = [Verb::Put, Verb::Get, Verb::Exists, Verb::Delete, Verb::Get, Verb::Exists];
        let ours = 0..self.scenario.keys.len();
        let steps = ours.flat_map(|key| each.map(|verb| Step { verb, keys: vec![key], len: 8 }));
        let recorder = self.alone(steps.collect()).recorder.clone();
        let done = peek(&recorder);
        self.rest();
        for of_key in done.chunks(each.len()) {
            self.converged(of_key);
        }
        if let Err(failure) = linear::check(&self.history()) {
            panic!("after the faults: {failure}");
        }
    }

    /// Alone, a client is answered what it did itself; and the slots that it touched are settled on all replicas.
    fn converged(&self, operations: &[Operation]) {
        if operations.iter().any(|o| !matches!(o.outcome, Outcome::Ok { .. })) {
            return;
        }
        let Kind::Put { value } = operations[0].kind else { unreachable!("a PUT comes first") };
        let answers: Vec<_> = operations.iter().filter_map(|o| o.outcome.answer()).collect();
        let expected = [
            Answer::Applied,
            Answer::Value(Some(value)),
            Answer::Present(true),
            Answer::Deleted(Some(true)),
            Answer::Value(None),
            Answer::Present(false),
        ];
        assert_eq!(answers, expected, "of {}", String::from_utf8_lossy(&operations[0].key));
        self.settled(&operations[0].key);
    }

    /// Nothing pending is left of a key.
    fn settled(&self, key: &[u8]) {
        let cluster = self.cluster();
        let (home, partition) = cluster.map.route(KeyHash::of(key));
        let members = &cluster.map.homes[usize::from(home.0)].members;
        for index in (0..cluster.plan.slots_per_partition()).map(SlotIndex) {
            let slot = SlotAddr { partition, index };
            let held: Vec<Word> = members
                .iter()
                .map(|m| {
                    let at = cluster.plan.segment(m.segment).slot(slot);
                    Word::from_raw(cluster.world.memory(m.node).word(at))
                })
                .collect();
            // An emptied word keeps the pointer of the entry that it lost.
            let named = (held[0] != Word::ZERO).then(|| cluster.shadow.published(home, held[0])).flatten();
            if named.is_none_or(|entry| entry.key != key) {
                continue;
            }
            assert!(!held[0].is_visible(), "{home} {slot:?}: {} is there again", held[0]);
            if self.scenario.map.commit == CommitKind::Colocated && !held[0].is_tentative() {
                let at = cluster.plan.segment(members[0].segment).committed(slot);
                let committed = Word::from_raw(cluster.world.memory(members[0].node).word(at));
                let is_ahead = |w: &Word| *w == held[0] || w.version().is_newer_than(held[0].version());
                assert!(
                    committed == held[0] && held.iter().all(is_ahead),
                    "{home} {slot:?} is pending: {held:?}, committed {committed}"
                );
            }
        }
    }

    /// What the memories of all nodes that are left hold.
    fn structure(&self) {
        let cluster = self.cluster();
        let alive: Vec<_> = cluster.nodes.iter().filter(|n| cluster.reach.is_alive(n.id)).collect();
        let memories: Vec<_> = alive.iter().map(|n| cluster.world.memory(n.id)).collect();
        let regions: Regions<'_> = alive
            .iter()
            .zip(&memories)
            .map(|(n, memory)| (n.id, memory.bytes(RemoteAddr(0), memory.len() as usize)))
            .collect();
        let may_be_rotten = |home, word: Word| self.rotten.contains(&(home, word.raw()));
        let expect = Expect {
            is_sound: self.scenario.is_sound(),
            // Nobody cleans up in a static cluster.
            is_left: false,
            may_be_rotten: &may_be_rotten,
        };
        if let Err(why) = region::check(&cluster.map, &regions, &expect) {
            panic!("{why}");
        }
        let wasted = cluster.shadow.most_wasted();
        assert!(wasted <= MOST_WASTED, "a client was given {wasted} extents of a home that it never used");
        for home in &cluster.map.homes {
            let primary = &home.members[0];
            if cluster.reach.is_alive(primary.node) {
                self.space(home.id, primary);
            }
        }
    }

    /// Every extent is accounted for: in the node's books, in its memory, and to somebody.
    fn space(&self, home: HomeId, primary: &farrow_control::map::MemberEntry) {
        let cluster = self.cluster();
        let ledger = &cluster.node(primary.node).ledger;
        let words = ledger.extent_words(home).expect("it is the primary");
        let usage = ledger.usage(home).expect("it is the primary");
        let segment = cluster.plan.segment(primary.segment);
        let memory = cluster.world.memory(primary.node);
        let extent_len = cluster.plan.geometry().extent_len;
        let mut by_state = BTreeMap::new();
        for (extent, word) in words.iter().enumerate() {
            let shown = memory.word(segment.extent_record(extent as u64));
            assert_eq!(
                shown,
                word.raw(),
                "extent {extent} of {home}: the table differs from the node's books"
            );
            let state = match word.state() {
                ExtentState::Free => "free",
                ExtentState::Open => "open",
                ExtentState::Sealed => "sealed",
                ExtentState::Unknown(code) => panic!("extent {extent} of {home} has state {code}"),
            };
            *by_state.entry(state).or_insert(0) += extent_len;
            if word.state() == ExtentState::Open {
                assert!(
                    self.may_keep(home, &words, extent),
                    "extent {extent} of {home}: {word:?} has leaked"
                );
            }
        }
        let of = |state| by_state.get(state).copied().unwrap_or(0);
        assert_eq!((usage.free, usage.open), (of("free"), of("open")), "the books of {home} do not add up");
        assert_eq!(usage.orphaned, usage.open, "everybody has left");
        assert!(usage.sealed <= of("sealed"), "more was appended to {home} than there is");
    }

    /// Whether a client that has left may have left an extent open: it stopped, it could not say so; or an operation that
    /// wrote there was not answered, or could not reach all members.
    fn may_keep(&self, home: HomeId, words: &[ExtentWord], extent: usize) -> bool {
        let reach = &self.cluster().reach;
        let word = words[extent];
        let client = word.owner();
        // A grant is several extents in a row, and not all of them need to be used.
        let same = |i: &usize| words[*i] == word;
        let grant = (0..=extent).rev().take_while(same).chain((extent..words.len()).take_while(same));
        let is_written = || grant.clone().any(|i| self.cluster().shadow.is_written(home, i as u64));
        let handle = self.handles.iter().find(|h| h.id == client).expect("extents belong to clients");
        let members = &self.cluster().map.homes[usize::from(home.0)].members;
        let could_write =
            || handle.bell.is_some() && members.iter().all(|m| handle.reached.borrow().contains(&m.node));
        reach.has_stopped(client)
            || !reach.has_session(client, members[0].node)
            || handle.unanswered.get() > 0 && (is_written() || !could_write())
    }

    fn tally(&self) -> Tally {
        let history = self.history();
        let count = |outcome| history.operations().iter().filter(|o| o.outcome == outcome).count() as u64;
        Tally {
            operations: history.operations().len() as u64,
            unknown: count(Outcome::Unknown),
            failed: count(Outcome::Failed),
            events: self.world().trace().events(),
            seen: self.shared.probes.counts(),
        }
    }
}

/// What was recorded so far.
fn peek(recorder: &Rc<std::cell::RefCell<Recorder>>) -> Vec<Operation> {
    recorder.borrow().operations().to_vec()
}

fn take(recorder: &Rc<std::cell::RefCell<Recorder>>) -> History {
    History::new(peek(recorder))
}
