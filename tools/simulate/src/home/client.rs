//! A client: does its steps, remembers what it saw, writes down what it was told.

use super::cluster::{Cluster, Place};
use super::coordinator::{ClientViews, may_fail};
use super::scenario::{Name, Step, Verb};
use super::shadow::Shadow;
use farrow_fabric::{Chain, Effect, Fabric, Meter};
use farrow_fabric_sim::SimFabric;
use farrow_layout::*;
use farrow_protocol::*;
use farrow_testkit::history::{Answer, Kind, Recorder, Ticket, ValueId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The slot and version of each key as a client saw it last, with the value of that version.
pub type Seen = Rc<RefCell<BTreeMap<Name, (Found, ValueId)>>>;

/// One client of a run.
pub struct Client<C> {
    cluster: Cluster,
    shadow: Shadow,
    place: Place,
    commit: C,
    recorder: Rc<RefCell<Recorder>>,
    cache: Seen,
    sequence: u64,
    /// Whether an operation ended without an answer, so that its verbs may be on their way still.
    is_unsettled: bool,
}

impl<C: Commit> Client<C> {
    pub fn new(cluster: &Cluster, shadow: &Shadow, commit: C) -> Client<C> {
        let place = cluster.place();
        Client {
            cluster: cluster.clone(),
            shadow: shadow.clone(),
            commit,
            recorder: Rc::new(RefCell::new(Recorder::new(place.id))),
            place,
            cache: Seen::default(),
            sequence: 0,
            is_unsettled: false,
        }
    }

    pub fn recorder(&self) -> Rc<RefCell<Recorder>> {
        self.recorder.clone()
    }

    /// What it has seen, as it goes on.
    pub fn seen(&self) -> Seen {
        self.cache.clone()
    }

    /// Tells it what another client has seen.
    pub fn tell(&mut self, seen: &Seen) {
        self.cache.borrow_mut().clone_from(&seen.borrow());
    }

    pub fn fabric(&self) -> SimFabric {
        self.place.fabric.clone()
    }

    pub fn views(&self) -> Rc<ClientViews> {
        self.place.views.clone()
    }

    pub async fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step).await;
        }
        if self.cluster.has_table && !self.is_unsettled && !self.place.views.is_evicted() {
            self.seal().await;
        }
    }

    pub fn id(&self) -> u32 {
        self.place.id
    }

    /// Says that it will append no more: to the backups first, then to the primary's daemon.
    async fn seal(&self) {
        let extent = *self.place.appender.extent();
        let home = self.place.views.current();
        for backup in home.backups() {
            let at = backup.segment.extent_record(extent.first);
            let chain = Chain::new().write_word(at, extent.word.sealed().raw());
            Meter::new().post_behind(&backup.link, chain);
        }
        self.cluster.coordinator.seal(&self.place.fabric, extent.first, ClientId(self.place.id)).await;
    }

    pub async fn step(&mut self, step: Step) {
        let seen = self.cache.borrow().get(&step.key).copied();
        let known = seen.filter(|_| step.cached).map(|(found, _)| found);
        match (step.verb, seen) {
            (Verb::Get, _) => self.get(step.key, known).await,
            (Verb::Exists, _) => self.exists(step.key, known).await,
            (Verb::Put, _) => self.put(step.key, known, Condition::Always, None).await,
            (Verb::PutIfAbsent, _) => self.put(step.key, known, Condition::IfAbsent, None).await,
            (Verb::PutIfPresent, _) => self.put(step.key, known, Condition::IfPresent, None).await,
            (Verb::PutIfVersion, Some((found, read))) => {
                self.put(step.key, known, Condition::IfVersion(found.word), Some(read)).await;
            }
            (Verb::Delete, _) => self.delete(step.key, known, None).await,
            (Verb::DeleteIfVersion, Some((found, read))) => {
                self.delete(step.key, known, Some((found.word, read))).await;
            }
            // Nothing to compare with: see what is there.
            (Verb::PutIfVersion | Verb::DeleteIfVersion, None) => self.get(step.key, known).await,
        }
    }

    async fn with<T>(&self, key: &[u8], op: impl AsyncFnOnce(&Context<'_, SimFabric>) -> T) -> T {
        let home = self.place.views.current();
        let cx = Context {
            fabric: &self.place.fabric,
            meter: &Meter::new(),
            events: &self.cluster.events,
            home: &home,
            partition: 0,
            key,
            hash: KeyHash::of(key),
        };
        op(&cx).await
    }

    async fn get(&mut self, name: Name, known: Known) {
        let key = self.cluster.key(name);
        let ticket = self.begins(key, Kind::Get);
        let (commit, views) = (self.commit, &*self.place.views);
        match self.with(key, async |cx| get_through(cx, views, commit, known, &Target::Pool).await).await {
            Ok(GetOutcome::Present(value, found)) => {
                self.check(key, found);
                let value = value.with(value_id);
                self.cache.borrow_mut().insert(name, (found, value));
                self.ends(ticket, Answer::Value(Some(value)));
            }
            Ok(GetOutcome::Absent) => self.ends(ticket, Answer::Value(None)),
            Err(failure) => self.failed(ticket, &failure),
        }
    }

    async fn exists(&mut self, name: Name, known: Known) {
        let key = self.cluster.key(name);
        let ticket = self.begins(key, Kind::Exists);
        let (commit, views) = (self.commit, &*self.place.views);
        match self.with(key, async |cx| exists_through(cx, views, commit, known).await).await {
            Ok(found) => {
                if let Some(found) = found {
                    self.check(key, found);
                }
                self.ends(ticket, Answer::Present(found.is_some()));
            }
            Err(failure) => self.failed(ticket, &failure),
        }
    }

    async fn put(&mut self, name: Name, known: Known, condition: Condition, read: Option<ValueId>) {
        let key = self.cluster.key(name);
        self.sequence += 1;
        let value = self.cluster.next_value(self.place.id, self.sequence);
        let kind = match (condition, read) {
            (Condition::Always, _) => Kind::Put { value },
            (Condition::IfAbsent, _) => Kind::PutIfAbsent { value },
            (Condition::IfPresent, _) => Kind::PutIfPresent { value },
            (Condition::IfVersion(_), read) => {
                Kind::PutIfVersion { read: read.expect("a version comes with its value"), value }
            }
        };
        // From one word to more than an entry's first unit: so that transfers tear.
        let bytes = value.0.to_le_bytes().repeat(1 + (value.0 % 5) as usize * 3);
        let place = &self.place;
        let room = place.appender.reserve(entry_len(key.len(), bytes.len())).expect("few enough values");
        let entry = Entry {
            client: ClientId(place.id),
            sequence: self.sequence,
            flags: 0,
            expiry_ms: 0,
            replaced: Word::ZERO,
        };
        let staged =
            Staged::build(place.fabric.buffers(), &room, &entry, key, &StagedValue::Bytes(&bytes)).unwrap();
        let ticket = self.begins(key, kind);
        let (commit, views, mut unused) = (self.commit, &*self.place.views, false);
        let outcome = self
            .with(key, async |cx| {
                put_through(cx, views, commit, known, condition, &staged, &mut unused).await
            })
            .await;
        if unused {
            room.give_back(&self.place.appender);
        }
        let answer = match outcome {
            Ok(PutOutcome::Done(found)) => {
                self.check(key, found);
                self.cache.borrow_mut().insert(name, (found, value));
                Answer::Applied
            }
            Ok(PutOutcome::Overwritten { .. }) => Answer::Applied,
            Ok(PutOutcome::Rejected(rejection)) => {
                let fits = match (condition, rejection) {
                    (Condition::IfAbsent, Rejection::Exists(_)) => true,
                    (Condition::IfPresent | Condition::IfVersion(_), Rejection::Absent) => true,
                    (Condition::IfVersion(asked), Rejection::Version(found)) => asked != found,
                    _ => false,
                };
                assert!(fits, "{condition:?} was rejected with {rejection:?}");
                Answer::Refused
            }
            Err(failure) => return self.failed(ticket, &failure),
        };
        self.ends(ticket, answer);
    }

    async fn delete(&mut self, name: Name, known: Known, version: Option<(Word, ValueId)>) {
        let key = self.cluster.key(name);
        let kind = version.map_or(Kind::Delete, |(_, read)| Kind::DeleteIfVersion { read });
        let ticket = self.begins(key, kind);
        let (commit, views, word) = (self.commit, &*self.place.views, version.map(|(word, _)| word));
        let answer =
            match self.with(key, async |cx| delete_through(cx, views, commit, known, word).await).await {
                Ok(DeleteOutcome::Deleted(_)) if version.is_some() => Answer::Applied,
                Ok(DeleteOutcome::Deleted(_)) => Answer::Deleted(Some(true)),
                Ok(DeleteOutcome::Gone) => Answer::Deleted(None),
                Ok(DeleteOutcome::Absent) if version.is_none() => Answer::Deleted(Some(false)),
                Ok(DeleteOutcome::Absent | DeleteOutcome::Mismatch(_)) => {
                    assert!(version.is_some(), "only a condition can fail");
                    Answer::Refused
                }
                Err(failure) => return self.failed(ticket, &failure),
            };
        self.ends(ticket, answer);
    }

    /// What was answered is on every replica, and of this key.
    fn check(&self, key: &[u8], found: Found) {
        let last = *self.cluster.coordinator.nodes().last().expect("a home");
        self.cluster.looks_at(found.slot, found.word, last);
        self.shadow.assert_everywhere(found.slot, found.word);
        let (named, _) = self.cluster.entry(last, found.word).unwrap();
        assert_eq!(named, key, "{found:?} names another key's entry");
    }

    fn begins(&self, key: &[u8], kind: Kind) -> Ticket {
        let id = self.place.id;
        self.cluster.world.note(|| said(id, &format!("{kind} of {}", String::from_utf8_lossy(key))));
        self.recorder.borrow_mut().invoke(key, kind, self.cluster.called())
    }

    fn ends(&self, ticket: Ticket, answer: Answer) {
        let id = self.place.id;
        self.cluster.world.note(|| said(id, &format!("-> {answer}")));
        self.recorder.borrow_mut().complete(ticket, answer, self.cluster.returned());
    }

    fn failed(&mut self, ticket: Ticket, failure: &Failure) {
        // Nothing else may fail here: there is always another view, and so few clients never keep each other from ending.
        let is_evicted = self.place.views.is_evicted() && failure.is_of_view();
        assert!(may_fail(&failure.error) || is_evicted, "client {}: {failure:?}", self.place.id);
        let id = self.place.id;
        self.cluster.world.note(|| said(id, &format!("-> failed, effect {:?}", failure.effect)));
        let mut recorder = self.recorder.borrow_mut();
        match failure.effect {
            Effect::None => recorder.fail(ticket),
            Effect::Maybe => recorder.unknown(ticket),
        }
        self.is_unsettled |= failure.effect == Effect::Maybe;
    }
}

/// What a client says in the trace.
fn said(client: u32, what: &str) -> String {
    format!("client {client}: {what}")
}

/// Who says what, in a line of the trace that a client put there.
pub fn heard(note: &str) -> Option<(u32, &str)> {
    let (client, what) = note.strip_prefix("client ")?.split_once(": ")?;
    Some((client.parse().ok()?, what))
}

fn value_id(bytes: &[u8]) -> ValueId {
    let first: [u8; 8] = bytes[..8].try_into().expect("values are whole words");
    assert!(bytes.chunks(8).all(|word| word == first), "a torn value: {bytes:?}");
    ValueId(u64::from_le_bytes(first))
}
