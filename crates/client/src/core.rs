//! One thread's client, over any fabric: routing, deadlines, the cache, and what failures mean.

use crate::cache::Cache;
use crate::dead::DeadBytes;
use crate::space::{HomeExtents, Space};
use crate::stats::{OpKind, Stats};
use crate::{Error, Options, Rejected, Version};
use farrow_control::map::{ClusterMap, CommitKind};
use farrow_fabric::{Buffer, Cost, Effect, Fabric, Meter, OutOfBuffers, corked, join_all, within};
use farrow_layout::{BlockAddr, ClientId, Entry, EntryHeader, KeyHash, MAX_KEY_LEN, Plan, Word, entry_len};
use farrow_protocol::{
    Appender, Colocated, Condition, Context, DeleteOutcome, Events, Failure, Found, GetOutcome, Home, Known,
    PutOutcome, Rejection, Reservation, Snapshot, Staged, StagedValue, Target, Value, delete, exists, get,
    put,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Runs one operation under the cluster's commit protocol.
macro_rules! with_commit {
    ($core:expr, $commit:ident => $op:expr) => {
        match $core.0.map.commit {
            CommitKind::Colocated => {
                let $commit = Colocated;
                $op.await
            }
            CommitKind::Snapshot => {
                let $commit = Snapshot;
                $op.await
            }
        }
    };
}

/// One thread's client, over any fabric. Cheap to clone; clones are the same. See [`crate::LocalClient`].
pub struct Core<F: Fabric, S: Space>(Rc<Inner<F, S>>);

struct Inner<F: Fabric, S: Space> {
    fabric: F,
    space: S,
    id: ClientId,
    map: ClusterMap,
    plan: Plan,
    homes: Vec<Home<F::Link>>,
    extents: Vec<HomeExtents>,
    dead: Vec<DeadBytes>,
    cache: RefCell<Cache>,
    events: Events,
    stats: RefCell<Stats>,
    sequence: Cell<u64>,
    options: Options,
}

impl<F: Fabric, S: Space> Clone for Core<F, S> {
    fn clone(&self) -> Self {
        Core(self.0.clone())
    }
}

/// A PUT with everything that may be said of it.
#[derive(Clone, Debug)]
pub struct PutRequest<'a> {
    key: &'a [u8],
    value: StagedValue<'a>,
    condition: Condition,
    flags: u16,
}

impl<'a> PutRequest<'a> {
    /// Puts `value` whatever was there before.
    pub fn new(key: &'a [u8], value: &'a [u8]) -> Self {
        PutRequest { key, value: StagedValue::Bytes(value), condition: Condition::Always, flags: 0 }
    }

    /// Puts the first `len` bytes of registered memory, from where they lie. The buffer must not be written until the
    /// operation has ended (it cannot: its bytes are out of reach while verbs use them).
    pub fn from_buffer(key: &'a [u8], buffer: &Buffer, len: usize) -> Self {
        let value = StagedValue::Registered(buffer.slice(0, len));
        PutRequest { key, value, condition: Condition::Always, flags: 0 }
    }

    /// Only when `when` holds.
    pub fn when(self, when: When) -> Self {
        let condition = match when {
            When::Always => Condition::Always,
            When::Absent => Condition::IfAbsent,
            When::Present => Condition::IfPresent,
            When::Version(version) => Condition::IfVersion(version.word()),
        };
        PutRequest { condition, ..self }
    }

    /// Sixteen bits that the application finds again beside the value.
    pub fn flags(self, flags: u16) -> Self {
        PutRequest { flags, ..self }
    }
}

/// The condition of a PUT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// None.
    #[default]
    Always,
    /// The key is not there.
    Absent,
    /// The key is there.
    Present,
    /// The key's value is this very version.
    Version(Version),
}

/// What is known of a value besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its length.
    pub len: usize,
    /// Its version.
    pub version: Version,
    /// The application's flags.
    pub flags: u16,
}

impl ValueInfo {
    /// Of a value that was read.
    pub fn of(value: &Value) -> ValueInfo {
        ValueInfo { len: value.len(), version: Version::of(value.word()), flags: value.flags() }
    }
}

impl<F: Fabric, S: Space> Core<F, S> {
    /// A client of the given homes (in the order of the map).
    pub fn new(
        fabric: F,
        space: S,
        id: ClientId,
        map: ClusterMap,
        plan: Plan,
        homes: Vec<Home<F::Link>>,
        options: Options,
    ) -> Self {
        assert_eq!(homes.len(), map.homes.len(), "one view for each home of the map");
        let extents = homes.iter().map(|_| HomeExtents::default()).collect();
        let dead = homes.iter().map(|_| DeadBytes::default()).collect();
        let cache = RefCell::new(Cache::new(options.cache_entries, options.cache_stale_ratio));
        Core(Rc::new(Inner {
            fabric,
            space,
            id,
            map,
            plan,
            homes,
            extents,
            dead,
            cache,
            events: Events::default(),
            stats: RefCell::default(),
            sequence: Cell::new(0),
            options,
        }))
    }

    /// The fabric of this thread.
    pub fn fabric(&self) -> &F {
        &self.0.fabric
    }

    /// The client's id.
    pub fn id(&self) -> ClientId {
        self.0.id
    }

    /// The cluster map.
    pub fn map(&self) -> &ClusterMap {
        &self.0.map
    }

    /// Where everything lies.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The homes, in the order of the map.
    pub fn homes(&self) -> &[Home<F::Link>] {
        &self.0.homes
    }

    /// What this client has done.
    pub fn stats(&self) -> Stats {
        let mut stats = self.0.stats.borrow().clone();
        stats.cache = self.0.cache.borrow().stats();
        stats.fabric = self.0.fabric.totals();
        stats.note_events(&self.0.events);
        stats
    }

    /// Tells the nodes now how many bytes of entries this client has put out of use, which it otherwise does in batches, and
    /// when it leaves. Their statistics know when this ends; a node that cannot be reached is passed over.
    pub async fn tell_dead_bytes(&self) {
        let told = self.0.dead.iter().zip(&self.0.homes).flat_map(|(dead, home)| dead.tell(home));
        // It is a hint: what is lost with a link is counted nowhere.
        join_all(told.collect::<Vec<_>>()).await;
    }

    /// Bytes that this client holds open in extents, over all members of all homes.
    pub fn open_bytes(&self) -> u64 {
        let copies = self.0.map.geometry.policy.copies() as u64;
        self.0.extents.iter().map(HomeExtents::open_bytes).sum::<u64>() * copies
    }

    /// Registers memory of the application for [`Core::get_into`] and [`PutRequest::from_buffer`].
    ///
    /// # Errors
    /// [`OutOfBuffers::Refused`]: the device's reason, and what to do.
    pub fn register(&self, memory: Vec<u8>) -> Result<Buffer, OutOfBuffers> {
        self.0.fabric.buffers().register(memory)
    }

    /// The longest value that fits beside a key of `key_len` bytes.
    pub fn max_value_len(&self, key_len: usize) -> usize {
        self.0.plan.max_entry_len().saturating_sub(EntryHeader::LEN + key_len)
    }

    fn check_key(key: &[u8]) -> Result<KeyHash, Error> {
        if key.is_empty() || key.len() > MAX_KEY_LEN {
            return Err(Error::BadKey { len: key.len() });
        }
        Ok(KeyHash::of(key))
    }

    fn context<'a>(&'a self, key: &'a [u8], hash: KeyHash, meter: &'a Meter) -> Context<'a, F> {
        let (home, partition) = self.0.map.route(hash);
        let home = &self.0.homes[usize::from(home.0)];
        Context { fabric: &self.0.fabric, meter, events: &self.0.events, home, partition, key, hash }
    }

    /// Runs one operation within its deadline and accounts for it. `None`: the deadline passed.
    async fn run<T>(
        &self,
        kind: OpKind,
        meter: &Meter,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let after = self.0.options.deadline;
        let deadline = self.0.fabric.now() + after;
        let result = match within(&self.0.fabric, deadline, operation).await {
            Some(result) => result,
            // A write takes effect by its CASes alone, and any of them may be on its way still. One that was waiting for space,
            // or still looking, has posted none and never will.
            None if matches!(kind, OpKind::Put | OpKind::Delete) && meter.cost().foreground.cas > 0 => {
                Err(Error::Unknown { why: format!("no answer within {after:?}") })
            }
            None => Err(Error::TimedOut { after }),
        };
        let mut stats = self.0.stats.borrow_mut();
        let ops = stats.ops.entry(kind).or_default();
        ops.add_cost(&meter.cost());
        match &result {
            // A condition that does not hold is an answer.
            Ok(_) | Err(Error::Rejected(_)) => ops.count += 1,
            Err(e) => *ops.errors.entry(e.label().to_owned()).or_default() += 1,
        }
        result
    }

    /// What an operation that started from `known` has found out: `now`, or that the key is gone.
    fn learn(&self, hash: KeyHash, known: Known, now: Option<Found>) {
        let mut cache = self.0.cache.borrow_mut();
        let was_stale = known.is_some() && known != now;
        match now {
            Some(found) if known != now => cache.remember(hash, found, was_stale),
            Some(_) => {}
            None => cache.forget(hash, was_stale),
        }
    }

    /// The value of `key`, or `None` if it is not there. Cost: 1 round trip when its slot is remembered, else 2.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::TimedOut`], [`Error::Corrupt`], [`Error::OutOfBuffers`], [`Error::BadKey`].
    pub async fn get(&self, key: &[u8]) -> Result<Option<Value>, Error> {
        self.get_metered(key, &Target::Pool, &Meter::new()).await
    }

    /// As [`Core::get`], straight into registered memory of the application; answers what was read. What lies behind the
    /// value in the buffer is unspecified afterwards, also when the key is not there.
    ///
    /// # Errors
    /// As [`Core::get`], and [`Error::BufferTooSmall`].
    pub async fn get_into(&self, key: &[u8], buffer: &Buffer) -> Result<Option<ValueInfo>, Error> {
        let value = self.get_metered(key, &Target::Into(buffer.whole()), &Meter::new()).await?;
        Ok(value.as_ref().map(ValueInfo::of))
    }

    /// As [`Core::get`], counted by `meter`.
    pub async fn get_metered(
        &self,
        key: &[u8],
        target: &Target,
        meter: &Meter,
    ) -> Result<Option<Value>, Error> {
        let hash = Self::check_key(key)?;
        let known = self.0.cache.borrow_mut().find(hash);
        self.run(OpKind::Get, meter, async {
            let cx = self.context(key, hash, meter);
            let outcome = with_commit!(self, commit => get(&cx, commit, known, target));
            match outcome.map_err(|f| self.failed(f, hash, known, false))? {
                GetOutcome::Present(value, found) => {
                    self.learn(hash, known, Some(found));
                    Ok(Some(value))
                }
                GetOutcome::Absent => {
                    self.learn(hash, known, None);
                    Ok(None)
                }
            }
        })
        .await
    }

    /// The version of `key`'s value, or `None` if it is not there. Reads no value.
    ///
    /// # Errors
    /// As [`Core::get`].
    pub async fn exists(&self, key: &[u8]) -> Result<Option<Version>, Error> {
        let hash = Self::check_key(key)?;
        let known = self.0.cache.borrow_mut().find(hash);
        let meter = Meter::new();
        self.run(OpKind::Exists, &meter, async {
            let cx = self.context(key, hash, &meter);
            let outcome = with_commit!(self, commit => exists(&cx, commit, known));
            let found = outcome.map_err(|f| self.failed(f, hash, known, false))?;
            self.learn(hash, known, found);
            Ok(found.map(|f| Version::of(f.word)))
        })
        .await
    }

    /// Puts `value` under `key`; answers its version. Cost: 1 round trip when the key's slot is remembered.
    ///
    /// # Errors
    /// [`Error::Unknown`] when the value may be there. After any other error it is not.
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<Version, Error> {
        self.put_with(&PutRequest::new(key, value)).await
    }

    /// As [`Core::put`], with conditions, flags and registered memory.
    ///
    /// # Errors
    /// As [`Core::put`], and [`Error::Rejected`] when the condition does not hold.
    pub async fn put_with(&self, request: &PutRequest<'_>) -> Result<Version, Error> {
        self.put_metered(request, &Meter::new()).await
    }

    /// As [`Core::put_with`], counted by `meter`.
    pub async fn put_metered(&self, request: &PutRequest<'_>, meter: &Meter) -> Result<Version, Error> {
        let key = request.key;
        let hash = Self::check_key(key)?;
        let total = EntryHeader::LEN + key.len() + request.value.len();
        if total > self.0.plan.max_entry_len() {
            let max = self.0.plan.max_entry_len() - EntryHeader::LEN;
            return Err(Error::TooLarge { len: key.len() + request.value.len(), max });
        }
        let known = self.0.cache.borrow_mut().find(hash);
        self.run(OpKind::Put, meter, async {
            let cx = self.context(key, hash, meter);
            let len = entry_len(key.len(), request.value.len());
            let extents = &self.0.extents[usize::from(cx.home.id().0)];
            let extent_len = self.0.plan.geometry().extent_len;
            let (place, appender) =
                extents.reserve::<F, S>(&self.0.space, cx.home, extent_len, len).await?;
            self.0.sequence.set(self.0.sequence.get() + 1);
            let entry = Entry {
                client: self.0.id,
                sequence: self.0.sequence.get(),
                flags: request.flags,
                expiry_ms: 0,
                // The protocol says so before it posts the entry.
                replaced: Word::ZERO,
            };
            let staged = match Staged::build(self.0.fabric.buffers(), &place, &entry, key, &request.value) {
                Ok(staged) => staged,
                Err(failure) => {
                    place.give_back(&appender);
                    return Err(Error::of(failure, true));
                }
            };
            let room = Room { place: Some(place), appender, staged: &staged };
            let mut unused = false;
            let outcome = with_commit!(self, commit => put(&cx, commit, known, request.condition, &staged, &mut unused));
            let (at, len) = room.lies();
            let is_dead = match &outcome {
                Ok(_) if unused => !room.end(true),
                Ok(outcome) => {
                    room.end(false);
                    !matches!(outcome, PutOutcome::Done(_))
                }
                Err(failure) => {
                    drop(room);
                    failure.effect == Effect::None && staged.is_posted()
                }
            };
            let dead = &self.0.dead[usize::from(cx.home.id().0)];
            dead.note_word(cx.home, staged.replaced());
            if is_dead {
                dead.note(cx.home, at, len);
            }
            match outcome.map_err(|f| self.failed(f, hash, known, true))? {
                PutOutcome::Done(found) => {
                    // An own write is news, not a stale cache; that the word was stale shows in conflicts.
                    self.0.cache.borrow_mut().remember(hash, found, false);
                    Ok(Version::of(found.word))
                }
                PutOutcome::Overwritten { word } => {
                    self.0.cache.borrow_mut().forget(hash, known.is_some());
                    Ok(Version::of(word))
                }
                PutOutcome::Rejected(rejection) => {
                    self.0.cache.borrow_mut().forget(hash, false);
                    Err(Error::Rejected(match rejection {
                        Rejection::Exists(word) => Rejected::Exists(Version::of(word)),
                        Rejection::Absent => Rejected::Absent,
                        Rejection::Version(word) => Rejected::OtherVersion(Version::of(word)),
                    }))
                }
            }
        })
        .await
    }

    /// Removes `key`; whether it was there. Cost: 1 round trip when its slot is remembered, and no bytes.
    ///
    /// # Errors
    /// As [`Core::put`].
    pub async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        self.delete_metered(key, None, &Meter::new()).await
    }

    /// Removes `key` only as this very version.
    ///
    /// # Errors
    /// As [`Core::put`], and [`Error::Rejected`] when the key has another version or is not there.
    pub async fn delete_version(&self, key: &[u8], version: Version) -> Result<(), Error> {
        match self.delete_metered(key, Some(version), &Meter::new()).await? {
            true => Ok(()),
            false => Err(Error::Rejected(Rejected::Absent)),
        }
    }

    /// As [`Core::delete`], counted by `meter`.
    pub async fn delete_metered(
        &self,
        key: &[u8],
        version: Option<Version>,
        meter: &Meter,
    ) -> Result<bool, Error> {
        let hash = Self::check_key(key)?;
        let known = self.0.cache.borrow_mut().find(hash);
        self.run(OpKind::Delete, meter, async {
            let cx = self.context(key, hash, meter);
            let version = version.map(Version::word);
            let outcome = with_commit!(self, commit => delete(&cx, commit, known, version));
            let outcome = outcome.map_err(|f| self.failed(f, hash, known, true))?;
            self.0.cache.borrow_mut().forget(hash, false);
            match outcome {
                DeleteOutcome::Deleted(word) => {
                    self.0.dead[usize::from(cx.home.id().0)].note_word(cx.home, word);
                    Ok(true)
                }
                DeleteOutcome::Absent => Ok(false),
                DeleteOutcome::Gone => Err(Error::Unknown {
                    why: "the key is gone, but whether this or another delete removed it cannot be told"
                        .into(),
                }),
                DeleteOutcome::Mismatch(word) => {
                    Err(Error::Rejected(Rejected::OtherVersion(Version::of(word))))
                }
            }
        })
        .await
    }

    fn failed(&self, failure: Failure, hash: KeyHash, known: Known, is_write: bool) -> Error {
        if known.is_some() {
            self.0.cache.borrow_mut().forget(hash, false);
        }
        Error::of(failure, is_write)
    }

    /// Many GETs at once: a result for each key, in order. Doorbells: one a node and phase.
    pub async fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<Option<Value>, Error>> {
        self.all(keys.iter().map(|k| self.get(k.as_ref()))).await
    }

    /// Many look-ups at once: a result for each key, in order.
    pub async fn exists_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<Option<Version>, Error>> {
        self.all(keys.iter().map(|k| self.exists(k.as_ref()))).await
    }

    /// Many PUTs at once: a result for each, in order. PUTs of one key in one batch have no order.
    pub async fn put_many(&self, requests: &[PutRequest<'_>]) -> Vec<Result<Version, Error>> {
        self.all(requests.iter().map(|r| self.put_with(r))).await
    }

    /// Many DELETEs at once: a result for each key, in order.
    pub async fn delete_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<bool, Error>> {
        self.all(keys.iter().map(|k| self.delete(k.as_ref()))).await
    }

    async fn all<T, O: Future<Output = T>>(&self, operations: impl Iterator<Item = O>) -> Vec<T> {
        let operations: Vec<_> = operations.map(Box::pin).collect();
        corked(self.0.fabric.clone(), join_all(operations)).await
    }

    /// The cost of one metered operation.
    pub fn cost(meter: &Meter) -> Cost {
        meter.cost()
    }
}

/// The room of an operation that may be cut at any time.
struct Room<'a> {
    place: Option<Reservation>,
    appender: Rc<Appender>,
    staged: &'a Staged,
}

impl Room<'_> {
    /// Where it lies, and how long it is.
    fn lies(&self) -> (BlockAddr, u64) {
        let place = self.place.as_ref().expect("taken when the operation ends");
        (place.at, place.len as u64)
    }

    /// The operation has an answer, so none of its verbs is on its way. `unused`: no slot ever named the entry. Whether the
    /// room can be used again.
    fn end(mut self, unused: bool) -> bool {
        let place = self.place.take().expect("taken when the operation ends");
        if unused {
            return place.give_back(&self.appender);
        }
        place.end();
        false
    }
}

impl Drop for Room<'_> {
    /// Without an answer: verbs may be on their way still, and then the extent stays open for good.
    fn drop(&mut self) {
        if let Some(place) = self.place.take().filter(|_| !self.staged.is_posted()) {
            place.give_back(&self.appender);
        }
    }
}

impl<F: Fabric, S: Space> Drop for Inner<F, S> {
    fn drop(&mut self) {
        for (extents, home) in self.extents.iter().zip(&self.homes) {
            extents.close::<F, S>(&self.space, home);
        }
        for (dead, home) in self.dead.iter().zip(&self.homes) {
            drop(dead.tell(home));
        }
    }
}
