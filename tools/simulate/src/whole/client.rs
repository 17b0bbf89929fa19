//! A client: does its steps with the product's client, writes down what it was told, and has every answer judged.

use super::cluster::{Cluster, Seat};
use super::legal::{self, Call, Means};
use super::mailbox::Mailbox;
use super::probes::Probes;
use super::scenario::{ClientPlan, Step, Verb};
use farrow_client::{Core, Error, Options, PutRequest, Target, Value, ValueInfo, Version, When};
use farrow_fabric::Meter;
use farrow_fabric_sim::SimFabric;
use farrow_layout::{ClientId, KeyHash, NodeId};
use farrow_testkit::history::{Answer, Kind, Recorder, Ticket, ValueId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What all clients of a run share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) cluster: Cluster,
    pub(super) keys: Rc<Vec<Vec<u8>>>,
    pub(super) probes: Probes,
    /// Values written so far.
    pub(super) values: Rc<Cell<u64>>,
    pub(super) may_be_crowded: bool,
}

/// One client of a run.
pub(super) struct Client {
    shared: Shared,
    id: ClientId,
    core: Core<SimFabric, super::space::SimSpace>,
    means: Means,
    recorder: Rc<RefCell<Recorder>>,
    /// The version of each key that this client saw last, with its value.
    seen: BTreeMap<usize, (Version, ValueId)>,
    /// Writes that were not answered, or PUTs that failed: verbs of theirs may be on their way for good.
    unanswered: Rc<Cell<u64>>,
    bell: Option<Mailbox<()>>,
    reached: Rc<RefCell<BTreeSet<NodeId>>>,
}

/// An operation that has begun.
struct Begun {
    ticket: Ticket,
    /// Changes of words until then.
    at: u64,
}

/// What is told of a client from outside.
pub(super) struct Handle {
    pub(super) id: ClientId,
    pub(super) fabric: SimFabric,
    pub(super) desks: super::space::Desks,
    pub(super) recorder: Rc<RefCell<Recorder>>,
    pub(super) unanswered: Rc<Cell<u64>>,
    /// Rings when everything has come to rest, for a client that lingers so long.
    pub(super) bell: Option<Mailbox<()>>,
    /// The nodes that it still reached when it left.
    pub(super) reached: Rc<RefCell<BTreeSet<NodeId>>>,
}

/// How the client options of a plan are.
pub(super) fn options(plan: &ClientPlan) -> Options {
    Options {
        deadline: plan.deadline,
        cache_entries: plan.cache_entries,
        buffer_limit: plan.buffer_limit,
        ..Options::default()
    }
}

impl Client {
    pub(super) fn new(shared: &Shared, plan: &ClientPlan) -> (Client, Handle) {
        let Seat { id, fabric, desks, core } = shared.cluster.seat(&options(plan));
        let client = Client {
            shared: shared.clone(),
            id,
            core,
            means: Means::of(plan, shared.may_be_crowded),
            recorder: Rc::new(RefCell::new(Recorder::new(id.0))),
            seen: BTreeMap::new(),
            unanswered: Rc::default(),
            bell: plan.lingers.then(Mailbox::new),
            reached: Rc::default(),
        };
        let (recorder, unanswered) = (client.recorder.clone(), client.unanswered.clone());
        let (reached, bell) = (client.reached.clone(), client.bell.clone());
        (client, Handle { id, fabric, desks, recorder, unanswered, bell, reached })
    }

    /// Does its steps, and leaves.
    pub(super) async fn run(mut self, steps: Vec<Step>) {
        for step in &steps {
            self.step(step).await;
        }
        if let Some(bell) = &self.bell {
            bell.receive().await;
        }
        self.shared.probes.note_stats(&self.core.stats());
        let cluster = &self.shared.cluster;
        let reached = cluster.nodes.iter().map(|n| n.id).filter(|n| cluster.reach.has_link(self.id, *n));
        self.reached.borrow_mut().extend(reached);
    }

    pub(super) async fn step(&mut self, step: &Step) {
        let id = self.id;
        self.shared.cluster.world.note(|| format!("{id} begins {step:?}"));
        if let [key] = step.keys[..] {
            self.single(step, key).await;
        } else {
            self.batch(step).await;
        }
    }

    async fn single(&mut self, step: &Step, key: usize) {
        let name = self.shared.keys[key].clone();
        match (step.verb, self.seen.get(&key).copied()) {
            (Verb::Get, _) => {
                let begun = self.invoke(key, Kind::Get);
                let got = self.core.get_metered(&name, &Target::Pool, &Meter::new()).await;
                self.got(key, begun, got);
            }
            (Verb::GetInto, _) => self.get_into(step, key).await,
            (Verb::Exists, _) => {
                let begun = self.invoke(key, Kind::Exists);
                let found = self.core.exists(&name).await;
                self.exists(key, begun, found);
            }
            (Verb::Put, _) => self.put(key, step.len, When::Always, None).await,
            (Verb::PutFrom, _) => self.put_from(key, step.len).await,
            (Verb::PutIfAbsent, _) => self.put(key, step.len, When::Absent, None).await,
            (Verb::PutIfPresent, _) => self.put(key, step.len, When::Present, None).await,
            (Verb::PutIfVersion, Some((version, read))) => {
                self.put(key, step.len, When::Version(version), Some(read)).await;
            }
            (Verb::Delete, _) => {
                let begun = self.invoke(key, Kind::Delete);
                let deleted = self.core.delete(&name).await;
                self.deleted(key, begun, deleted);
            }
            (Verb::DeleteIfVersion, Some((version, read))) => {
                let begun = self.invoke(key, Kind::DeleteIfVersion { read });
                let answer = match self.core.delete_version(&name, version).await {
                    Ok(()) => Ok(Answer::Applied),
                    Err(Error::Rejected(_)) => Ok(Answer::Refused),
                    Err(error) => Err(error),
                };
                let call = Call { is_write: true, is_conditional: true, ..Call::default() };
                self.finish(key, begun, call, answer);
            }
            // Nothing to compare with: see what is there.
            (Verb::PutIfVersion | Verb::DeleteIfVersion, None) => {
                let begun = self.invoke(key, Kind::Get);
                let got = self.core.get(&name).await;
                self.got(key, begun, got);
            }
            (Verb::BadKey, _) => {
                let error = self.core.put(b"", b"x").await.expect_err("an empty key is none");
                assert_eq!(error, Error::BadKey { len: 0 });
                self.shared.probes.note_error(&error);
            }
            (Verb::TooLarge, _) => {
                let value = vec![0; self.core.max_value_len(name.len()) + 1];
                let error = self.core.put(&name, &value).await.expect_err("no block holds it");
                assert!(matches!(error, Error::TooLarge { .. }), "{error}");
                self.shared.probes.note_error(&error);
            }
        }
    }

    async fn batch(&mut self, step: &Step) {
        let names: Vec<Vec<u8>> = step.keys.iter().map(|k| self.shared.keys[*k].clone()).collect();
        let invoke = |kind: Kind| step.keys.iter().map(|k| self.invoke(*k, kind)).collect::<Vec<_>>();
        match step.verb {
            Verb::Exists => {
                let all_begun = invoke(Kind::Exists);
                let found = self.core.exists_many(&names).await;
                for ((key, begun), found) in step.keys.iter().zip(all_begun).zip(found) {
                    self.exists(*key, begun, found);
                }
            }
            Verb::Put | Verb::PutIfAbsent => {
                let when = if step.verb == Verb::Put { When::Always } else { When::Absent };
                let values: Vec<_> = step.keys.iter().map(|_| self.new_value(step.len)).collect();
                let all_begun: Vec<_> = step
                    .keys
                    .iter()
                    .zip(&values)
                    .map(|(key, (value, _))| self.invoke(*key, put_kind(when, *value, None)))
                    .collect();
                let requests: Vec<_> = names
                    .iter()
                    .zip(&values)
                    .map(|(name, (value, bytes))| {
                        PutRequest::new(name, bytes).when(when).flags(flags_of(*value))
                    })
                    .collect();
                let put = self.core.put_many(&requests).await;
                for (((key, begun), (value, _)), put) in step.keys.iter().zip(all_begun).zip(&values).zip(put)
                {
                    self.was_put(*key, begun, *value, when, put);
                }
            }
            Verb::Delete => {
                let all_begun = invoke(Kind::Delete);
                let deleted = self.core.delete_many(&names).await;
                for ((key, begun), deleted) in step.keys.iter().zip(all_begun).zip(deleted) {
                    self.deleted(*key, begun, deleted);
                }
            }
            _ => {
                let all_begun = invoke(Kind::Get);
                let got = self.core.get_many(&names).await;
                for ((key, begun), got) in step.keys.iter().zip(all_begun).zip(got) {
                    self.got(*key, begun, got);
                }
            }
        }
    }

    async fn get_into(&mut self, step: &Step, key: usize) {
        let begun = self.invoke(key, Kind::Get);
        let buffer = self.core.register(vec![0; step.len]).expect("memory of the application's own");
        let got = self.core.get_into(&self.shared.keys[key], &buffer).await;
        let call = Call { buffer: Some(step.len), ..Call::default() };
        let answer = got.map(|found| {
            found.map(|info| buffer.slice(0, info.len).with(|bytes| self.value(key, &info, bytes)))
        });
        self.finish(key, begun, call, answer.map(Answer::Value));
    }

    async fn put(&mut self, key: usize, len: usize, when: When, read: Option<ValueId>) {
        let (value, bytes) = self.new_value(len);
        let begun = self.invoke(key, put_kind(when, value, read));
        let name = self.shared.keys[key].clone();
        let request = PutRequest::new(&name, &bytes).when(when).flags(flags_of(value));
        let put = self.core.put_with(&request).await;
        self.was_put(key, begun, value, when, put);
    }

    async fn put_from(&mut self, key: usize, len: usize) {
        let (value, bytes) = self.new_value(len);
        let begun = self.invoke(key, put_kind(When::Always, value, None));
        let name = self.shared.keys[key].clone();
        let buffer = self.core.register(bytes).expect("memory of the application's own");
        let request = PutRequest::from_buffer(&name, &buffer, len).flags(flags_of(value));
        let put = self.core.put_with(&request).await;
        self.was_put(key, begun, value, When::Always, put);
    }

    fn invoke(&self, key: usize, kind: Kind) -> Begun {
        let at = self.shared.cluster.shadow.now();
        let ticket =
            self.recorder.borrow_mut().invoke(&self.shared.keys[key], kind, self.shared.cluster.tick());
        Begun { ticket, at }
    }

    fn got(&mut self, key: usize, begun: Begun, got: Result<Option<Value>, Error>) {
        let answer = got.map(|value| {
            value.map(|value| {
                let info = ValueInfo::of(&value);
                let id = value.with(|bytes| self.value(key, &info, bytes));
                self.seen.insert(key, (info.version, id));
                id
            })
        });
        self.finish(key, begun, Call::default(), answer.map(Answer::Value));
    }

    fn exists(&mut self, key: usize, begun: Begun, found: Result<Option<Version>, Error>) {
        let answer = found.map(|version| {
            if let Some(version) = version {
                self.judge(key, version, None);
            }
            Answer::Present(version.is_some())
        });
        self.finish(key, begun, Call::default(), answer);
    }

    fn was_put(&mut self, key: usize, begun: Begun, value: ValueId, when: When, put: Result<Version, Error>) {
        let is_conditional = when != When::Always;
        let call = Call { is_write: true, is_put: true, is_conditional, ..Call::default() };
        let answer = match put {
            Ok(version) => {
                let (home, partition) = self.route(key);
                let name = &self.shared.keys[key];
                self.shared.cluster.shadow.assert_put(home, partition, name, version.word());
                self.seen.insert(key, (version, value));
                Ok(Answer::Applied)
            }
            Err(Error::Rejected(_)) if is_conditional => Ok(Answer::Refused),
            Err(error) => Err(error),
        };
        self.finish(key, begun, call, answer);
    }

    fn deleted(&mut self, key: usize, begun: Begun, deleted: Result<bool, Error>) {
        let call = Call { is_write: true, ..Call::default() };
        self.finish(key, begun, call, deleted.map(|was_there| Answer::Deleted(Some(was_there))));
    }

    /// Writes down how an operation ended; an error must be a legal one.
    fn finish(&self, key: usize, begun: Begun, call: Call, answer: Result<Answer, Error>) {
        let cluster = &self.shared.cluster;
        let mut recorder = self.recorder.borrow_mut();
        match answer {
            Ok(answer) => {
                self.judge_absence(key, answer, begun.at);
                if answer == Answer::Refused {
                    self.shared.probes.note_refused();
                }
                recorder.complete(begun.ticket, answer, cluster.tick());
            }
            Err(error) => {
                let id = self.id;
                cluster.world.note(|| format!("{id} is told: {error}"));
                legal::check(cluster, self.id, &self.means, &self.shared.keys[key], call, &error);
                self.shared.probes.note_error(&error);
                if matches!(error, Error::Unknown { .. }) {
                    cluster.reach.note_broken(self.route(key).0);
                }
                if call.is_write {
                    self.unanswered.set(self.unanswered.get() + 1);
                }
                match error {
                    Error::Unknown { .. } => recorder.unknown(begun.ticket),
                    _ => recorder.fail(begun.ticket),
                }
            }
        }
    }

    /// A key that is answered to be absent is so on every replica.
    fn judge_absence(&self, key: usize, answer: Answer, began: u64) {
        if let Answer::Value(None) | Answer::Present(false) | Answer::Deleted(Some(false)) = answer {
            let (home, partition) = self.route(key);
            self.shared.cluster.shadow.assert_absent(home, partition, &self.shared.keys[key], began);
        }
    }

    fn route(&self, key: usize) -> (farrow_layout::HomeId, u32) {
        self.shared.cluster.map.route(KeyHash::of(&self.shared.keys[key]))
    }

    /// Which value was read: its bytes are what was put under that name, and what the answered word names.
    fn value(&self, key: usize, info: &ValueInfo, bytes: &[u8]) -> ValueId {
        let value = ValueId(u64::from(info.flags));
        assert_eq!(bytes, content(value, bytes.len()), "{value} was read with bytes that were never put");
        self.judge(key, info.version, Some(bytes));
        value
    }

    fn judge(&self, key: usize, version: Version, value: Option<&[u8]>) {
        let (home, partition) = self.route(key);
        let name = &self.shared.keys[key];
        self.shared.cluster.shadow.assert_answered(home, partition, name, version.word(), value);
    }

    fn new_value(&self, len: usize) -> (ValueId, Vec<u8>) {
        self.shared.values.set(self.shared.values.get() + 1);
        let value = ValueId(self.shared.values.get());
        (value, content(value, len))
    }
}

/// A value's name fits the flags, which are stored beside it: so values of no bytes have names as well.
fn flags_of(value: ValueId) -> u16 {
    u16::try_from(value.0).expect("a run writes few values")
}

fn put_kind(when: When, value: ValueId, read: Option<ValueId>) -> Kind {
    match (when, read) {
        (When::Always, _) => Kind::Put { value },
        (When::Absent, _) => Kind::PutIfAbsent { value },
        (When::Present, _) => Kind::PutIfPresent { value },
        (When::Version(_), read) => {
            Kind::PutIfVersion { read: read.expect("a version comes with its value"), value }
        }
    }
}

/// The bytes of a value: every word of them says which value, and which word of it.
fn content(value: ValueId, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64).flat_map(|i| (value.0 << 32 | i).to_le_bytes());
    words.take(len).collect()
}
