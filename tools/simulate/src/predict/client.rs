//! A client in a closed loop: each of its tasks does one operation after another.

use super::cluster::{Cluster, Record, VALUE_LEN};
use super::point::{Point, Tally};
use super::popularity::Popularity;
use super::remembered::Remembered;
use farrow_fabric::{Fabric, Meter};
use farrow_fabric_sim::{SimFabric, SimLink};
use farrow_layout::{ClientId, Entry, Word, entry_len};
use farrow_protocol::{
    Appender, Commit, Condition, Context, GetOutcome, Home, PutOutcome, Reservation, Staged, StagedValue,
    Target, get, put,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// One client: a thread with a processor, links and a memory of its own, shared by its tasks.
pub struct Client<C> {
    cluster: Rc<Cluster>,
    popularity: Arc<Popularity>,
    tally: Rc<Tally>,
    commit: C,
    id: ClientId,
    update_percent: u64,
    fabric: SimFabric,
    homes: Vec<Home<SimLink>>,
    appenders: RefCell<Vec<Option<Rc<Appender>>>>,
    remembered: RefCell<Remembered>,
    sequence: Cell<u64>,
}

impl<C: Commit> Client<C> {
    /// Client number `number` of `point`.
    pub fn new(
        cluster: &Rc<Cluster>,
        popularity: &Arc<Popularity>,
        tally: &Rc<Tally>,
        commit: C,
        point: &Point,
        number: u32,
    ) -> Client<C> {
        let fabric = cluster.world.fabric(64 << 20);
        let homes = cluster.homes(&fabric);
        let update_percent = point.workload.update_percent();
        Client {
            cluster: cluster.clone(),
            popularity: popularity.clone(),
            tally: tally.clone(),
            commit,
            id: ClientId(number + 1),
            update_percent: u64::from(update_percent),
            fabric,
            appenders: RefCell::new(vec![None; homes.len()]),
            homes,
            remembered: RefCell::new(Remembered::after_a_long_run(number, point.clients, update_percent)),
            sequence: Cell::new(0),
        }
    }

    /// Its fabric.
    pub fn fabric(&self) -> SimFabric {
        self.fabric.clone()
    }

    /// One of its tasks: an operation after another, for ever.
    pub async fn run(self: Rc<Self>) {
        loop {
            let key = self.popularity.key(self.fabric.random());
            let is_update = self.fabric.random() % 100 < self.update_percent;
            let (begin, meter) = (self.fabric.now(), Meter::new());
            if is_update {
                self.update(key, &meter).await;
            } else {
                self.read(key, &meter).await;
            }
            self.tally.note(self.fabric.now(), begin, &meter.cost());
        }
    }

    fn context<'a>(&'a self, record: &'a Record, meter: &'a Meter) -> Context<'a, SimFabric> {
        Context {
            fabric: &self.fabric,
            meter,
            events: &self.tally.events,
            home: &self.homes[usize::from(record.home)],
            partition: record.slot.partition,
            key: &record.key,
            hash: record.hash,
        }
    }

    async fn read(&self, key: usize, meter: &Meter) {
        let record = &self.cluster.records[key];
        let known = self.remembered.borrow_mut().find(key as u32, record);
        match get(&self.context(record, meter), self.commit, known, &Target::Pool).await {
            Ok(GetOutcome::Present(value, found)) => {
                assert_eq!(value.len(), VALUE_LEN);
                if known != Some(found) {
                    self.remembered.borrow_mut().remember(key as u32, record, found.word, known.is_some());
                }
            }
            other => panic!("key {key} was put and never deleted: {other:?}"),
        }
    }

    async fn update(&self, key: usize, meter: &Meter) {
        let record = &self.cluster.records[key];
        let known = self.remembered.borrow_mut().find(key as u32, record);
        let (room, appender) = self.room(record);
        self.sequence.set(self.sequence.get() + 1);
        let entry = Entry {
            client: self.id,
            sequence: self.sequence.get(),
            flags: 0,
            expiry_ms: 0,
            replaced: known.map_or(Word::ZERO, |found| found.word),
        };
        let value = StagedValue::Bytes(&[7; VALUE_LEN]);
        let staged = Staged::build(self.fabric.buffers(), &room, &entry, &record.key, &value);
        let staged = staged.expect("operations in flight fit the local memory");
        let (cx, mut unused) = (self.context(record, meter), false);
        let outcome = put(&cx, self.commit, known, Condition::Always, &staged, &mut unused).await;
        if unused {
            room.give_back(&appender);
        } else {
            room.end();
        }
        let mut remembered = self.remembered.borrow_mut();
        match outcome {
            Ok(PutOutcome::Done(found)) => remembered.remember(key as u32, record, found.word, false),
            Ok(PutOutcome::Overwritten { .. }) => remembered.forget(key as u32, record),
            other => panic!("an update without a condition of key {key}: {other:?}"),
        }
    }

    fn room(&self, record: &Record) -> (Reservation, Rc<Appender>) {
        let current = &mut self.appenders.borrow_mut()[usize::from(record.home)];
        let len = entry_len(record.key.len(), VALUE_LEN);
        if let Some(appender) = current
            && let Some(room) = appender.reserve(len)
        {
            return (room, appender.clone());
        }
        let appender = Rc::new(Appender::new(self.cluster.extent(record.home, self.id)));
        *current = Some(appender.clone());
        (appender.reserve(len).expect("an extent holds an entry"), appender)
    }
}
