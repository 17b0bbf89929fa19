//! What the client of a process does, and what it was told.

use super::cluster::Cluster;
use super::process::{Process, Ways};
use super::scenario::{Plan, Step, Verb};
use farrow_client::{Core, Error, MembershipStats, Options, PutRequest, Version, When};
use farrow_fabric_sim::SimFabric;
use farrow_testkit::history::{Answer, Kind, Recorder, Ticket, ValueId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What all workers of a run share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) cluster: Rc<Cluster>,
    pub(super) keys: Rc<Vec<Vec<u8>>>,
    pub(super) values: Rc<Cell<u64>>,
    pub(super) seen: Rc<RefCell<BTreeMap<String, u64>>>,
}

impl Shared {
    pub(super) fn see(&self, label: &str, times: u64) {
        if times > 0 {
            *self.seen.borrow_mut().entry(label.to_owned()).or_default() += times;
        }
    }
}

/// What is known of a worker from outside.
pub(super) struct Handle {
    pub(super) fabric: SimFabric,
    pub(super) recorder: Rc<RefCell<Recorder>>,
    pub(super) process: Rc<RefCell<Option<Rc<Process>>>>,
    /// How many of its steps it has begun.
    pub(super) begun: Rc<Cell<u64>>,
    /// Failures of the kinds that there must be none of while nothing is wrong.
    pub(super) errors: Rc<RefCell<Vec<String>>>,
}

pub(super) struct Worker {
    shared: Shared,
    core: Core<SimFabric, Ways>,
    recorder: Rc<RefCell<Recorder>>,
    errors: Rc<RefCell<Vec<String>>>,
    versions: BTreeMap<usize, (Version, ValueId)>,
}

/// Starts a process, does its steps, and leaves.
pub(super) async fn run(shared: Shared, number: usize, plan: Plan, handle: Handle) {
    let cluster = shared.cluster.clone();
    let process = Process::start(cluster.clone(), number, handle.fabric.clone(), &handle.process).await;
    let map = farrow_client::Routes::map(&Ways(process.clone()));
    let layout = map.plan().expect("a map in use");
    let options = Options {
        deadline: plan.deadline,
        cache_entries: plan.cache_entries,
        allow_under_replicated: plan.is_undemanding,
        ..Options::default()
    };
    let core = Core::new(handle.fabric.clone(), Ways(process.clone()), layout, Vec::new(), options);
    let (recorder, errors) = (handle.recorder.clone(), handle.errors.clone());
    let mut worker = Worker { shared: shared.clone(), core, recorder, errors, versions: BTreeMap::new() };
    for step in &plan.steps {
        cluster.sleep(step.after_ns).await;
        handle.begun.set(handle.begun.get() + 1);
        worker.step(step).await;
    }
    let stats = worker.core.stats();
    let MembershipStats {
        links_made,
        links_failed,
        map_waits,
        reports,
        renamed,
        under_replicated_writes,
        ..
    } = stats.membership;
    for (label, times) in &stats.events {
        shared.see(label, *times);
    }
    shared.see("links_made", links_made);
    shared.see("links_failed", links_failed);
    shared.see("map_waits", map_waits);
    shared.see("reports", reports);
    shared.see("renamed", renamed);
    shared.see("under_replicated_writes", under_replicated_writes);
    drop(worker);
    process.leave().await;
}

impl Worker {
    async fn step(&mut self, step: &Step) {
        let (key, name) = (step.key, self.shared.keys[step.key].clone());
        self.shared.cluster.world.note(|| format!("{} begins {step:?}", self.core.id()));
        match (step.verb, self.versions.get(&key).copied()) {
            (Verb::Put, _) => self.put(key, step.len, When::Always, None).await,
            (Verb::PutIfAbsent, _) => self.put(key, step.len, When::Absent, None).await,
            (Verb::PutIfVersion, Some((version, read))) => {
                self.put(key, step.len, When::Version(version), Some(read)).await;
            }
            (Verb::Delete, _) => {
                let ticket = self.invoke(key, Kind::Delete);
                let deleted = self.core.delete(&name).await;
                self.finish(ticket, deleted.map(|was| Answer::Deleted(Some(was))));
            }
            (Verb::Exists, _) => {
                let ticket = self.invoke(key, Kind::Exists);
                let found = self.core.exists(&name).await;
                self.finish(ticket, found.map(|version| Answer::Present(version.is_some())));
            }
            (Verb::Get | Verb::PutIfVersion, _) => {
                let ticket = self.invoke(key, Kind::Get);
                let got = self.core.get(&name).await;
                let answer = got.map(|value| {
                    Answer::Value(value.map(|value| {
                        let info = farrow_client::ValueInfo::of(&value);
                        let id = ValueId(u64::from(info.flags));
                        value.with(|bytes| {
                            assert_eq!(
                                bytes,
                                content(id, bytes.len()),
                                "{id} was read with bytes that were never put"
                            )
                        });
                        self.versions.insert(key, (info.version, id));
                        id
                    }))
                });
                self.finish(ticket, answer);
            }
        }
    }

    async fn put(&mut self, key: usize, len: usize, when: When, read: Option<ValueId>) {
        self.shared.values.set(self.shared.values.get() + 1);
        let value = ValueId(self.shared.values.get());
        let kind = match (when, read) {
            (When::Absent, _) => Kind::PutIfAbsent { value },
            (When::Version(_), Some(read)) => Kind::PutIfVersion { read, value },
            _ => Kind::Put { value },
        };
        let ticket = self.invoke(key, kind);
        let (name, bytes) = (self.shared.keys[key].clone(), content(value, len));
        let flags = u16::try_from(value.0).expect("a run writes few values");
        let put = self.core.put_with(&PutRequest::new(&name, &bytes).when(when).flags(flags)).await;
        let answer = match put {
            Ok(version) => {
                self.versions.insert(key, (version, value));
                Ok(Answer::Applied)
            }
            Err(Error::Rejected(_)) if when != When::Always => Ok(Answer::Refused),
            Err(error) => Err(error),
        };
        self.finish(ticket, answer);
    }

    fn invoke(&self, key: usize, kind: Kind) -> Ticket {
        self.recorder.borrow_mut().invoke(&self.shared.keys[key], kind, self.shared.cluster.tick())
    }

    fn finish(&self, ticket: Ticket, answer: Result<Answer, Error>) {
        let mut recorder = self.recorder.borrow_mut();
        self.shared.cluster.world.note(|| format!("{} is told: {answer:?}", self.core.id()));
        match answer {
            Ok(answer) => recorder.complete(ticket, answer, self.shared.cluster.tick()),
            Err(error) => {
                let is_legal = matches!(
                    error,
                    Error::Unavailable { .. }
                        | Error::Unknown { .. }
                        | Error::TimedOut { .. }
                        | Error::UnderReplicated { .. }
                );
                assert!(is_legal, "a client was told `{error}`");
                self.errors.borrow_mut().push(error.to_string());
                self.shared.see(error.label(), 1);
                match error {
                    Error::Unknown { .. } => recorder.unknown(ticket),
                    _ => recorder.fail(ticket),
                }
            }
        }
    }
}

/// The bytes of a value: every word of them says which value, and which word of it.
fn content(value: ValueId, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64).flat_map(|i| (value.0 << 32 | i).to_le_bytes());
    words.take(len).collect()
}
