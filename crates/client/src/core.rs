//! One thread's client, over any fabric: routing, deadlines, the cache, and what failures mean.

use crate::cache::Cache;
use crate::dead::DeadBytes;
use crate::membership::{Counts, HomeViews, NoWay, Routes, is_up};
use crate::space::{GrantError, HomeExtents, NoRoom, Space};
use crate::stats::{OpKind, Stats};
use crate::{Error, Options, Rejected, Version};
use farrow_control::map::{ClusterMap, CommitKind};
use farrow_fabric::{Buffer, Cost, Effect, Fabric, Meter, OutOfBuffers, corked, join_all, within};
use farrow_layout::{
    BlockAddr, ClientId, Entry, EntryHeader, Epoch, HomeId, KeyHash, MAX_KEY_LEN, Plan, Word, entry_len,
};
use farrow_protocol::{
    Appender, Colocated, Condition, Context, DeleteOutcome, Events, Failure, Found, GetOutcome, Home, Known,
    NoView, PutOutcome, Rejection, Reservation, Settled, Snapshot, Staged, StagedValue, Target, Value, Views,
    delete_through, exists_through, get_through, put_through, settle_in_doubt,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Times that an operation asks for room, in one view after the other.
const MOST_RESERVATIONS: u32 = 16;
/// Times that a client is taken for lost in the middle of one PUT.
const MOST_EVICTIONS: u32 = 4;

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
pub struct Core<F: Fabric, S: Space + Routes<F>>(Rc<Inner<F, S>>);

struct Inner<F: Fabric, S: Space + Routes<F>> {
    fabric: F,
    control: Rc<S>,
    /// The map that this began with: keys are routed alike in all that follow.
    map: Arc<ClusterMap>,
    plan: Plan,
    views: HomeViews<F, S>,
    counts: Rc<Counts>,
    extents: Vec<HomeExtents>,
    dead: Vec<DeadBytes>,
    cache: RefCell<Cache>,
    events: Events,
    stats: RefCell<Stats>,
    sequence: Cell<u64>,
    options: Options,
}

impl<F: Fabric, S: Space + Routes<F>> Clone for Core<F, S> {
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

impl<F: Fabric, S: Space + Routes<F>> Core<F, S> {
    /// A client with the given control plane. `links` are those that have been made already, with the epochs of their nodes;
    /// others are made when they are needed.
    pub fn new(fabric: F, control: S, plan: Plan, links: Vec<(F::Link, Epoch)>, options: Options) -> Self {
        let (control, counts) = (Rc::new(control), Rc::new(Counts::default()));
        let map = control.map();
        let extents = map.homes.iter().map(|_| HomeExtents::default()).collect();
        let dead = map.homes.iter().map(|_| DeadBytes::default()).collect();
        let views = HomeViews::new(fabric.clone(), control.clone(), plan, links, counts.clone());
        let cache = RefCell::new(Cache::new(options.cache_entries, options.cache_stale_ratio));
        Core(Rc::new(Inner {
            fabric,
            control,
            map,
            plan,
            views,
            counts,
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

    /// The client's present id; another one once it was taken for lost.
    pub fn id(&self) -> ClientId {
        self.0.control.id()
    }

    /// The latest cluster map that is known.
    pub fn map(&self) -> Arc<ClusterMap> {
        self.0.control.map()
    }

    /// Where everything lies.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The view of a home that operations begin in: its links may be lost by now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is none, [`Error::TimedOut`] when there is none in time.
    pub async fn view(&self, home: HomeId) -> Result<Rc<Home<F::Link>>, Error> {
        let after = self.0.options.deadline;
        let view = within(&self.0.fabric, self.0.fabric.now() + after, self.0.views.view(home)).await;
        view.ok_or(Error::TimedOut { after })?.map_err(unavailable)
    }

    /// Whether every home has a view whose links work, as far as is known.
    pub fn is_connected(&self) -> bool {
        let views = self.0.map.homes.iter().map(|home| self.0.views.current(home.id));
        views.into_iter().all(|view| view.is_some_and(|view| is_up(&view)))
    }

    /// What this client has done.
    pub fn stats(&self) -> Stats {
        let mut stats = self.0.stats.borrow().clone();
        stats.cache = self.0.cache.borrow().stats();
        stats.fabric = self.0.fabric.totals();
        stats.note_events(&self.0.events);
        stats.membership = self.0.counts.get();
        stats
    }

    /// Tells the nodes now how many bytes of entries this client has put out of use, which it otherwise does in batches, and
    /// when it leaves. Their statistics know when this ends; a node that cannot be reached is passed over.
    pub async fn tell_dead_bytes(&self) {
        let homes = self.0.map.homes.iter().zip(&self.0.dead);
        let views = homes.filter_map(|(home, dead)| Some((self.0.open_view(home.id)?, dead)));
        let told: Vec<_> = views.flat_map(|(view, dead)| dead.tell(&view)).collect();
        // It is a hint: what is lost with a link is counted nowhere.
        join_all(told).await;
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

    fn context<'a>(
        &'a self,
        key: &'a [u8],
        hash: KeyHash,
        partition: u32,
        home: &'a Home<F::Link>,
        meter: &'a Meter,
    ) -> Context<'a, F> {
        Context { fabric: &self.0.fabric, meter, events: &self.0.events, home, partition, key, hash }
    }

    /// The view to begin in.
    async fn begin(&self, home: HomeId) -> Result<Rc<Home<F::Link>>, Error> {
        match self.0.views.current(home) {
            // What SNAPSHOT has begun cannot be settled in another view: it begins in one that works.
            Some(view) if self.0.map.commit == CommitKind::Snapshot && !is_up(&view) => {
                self.0.views.renew(&view).await.map_err(unavailable)
            }
            Some(view) if view.is_open() => Ok(view),
            _ => self.0.views.view(home).await.map_err(unavailable),
        }
    }

    /// The view to begin a write in: open, and with enough members.
    async fn begin_write(&self, home: HomeId) -> Result<Rc<Home<F::Link>>, Error> {
        let mut view = self.begin(home).await?;
        while !view.is_open() {
            view = self.0.views.renew(&view).await.map_err(unavailable)?;
        }
        let copies = view.members().len();
        if copies < self.0.map.geometry.policy.copies() {
            self.0.check_floor(copies)?;
            self.0.counts.note(|c| c.under_replicated_writes += 1);
        }
        Ok(view)
    }

    /// Room for an entry of `len` bytes, in the view that it is in by then.
    async fn reserve(
        &self,
        view: &mut Rc<Home<F::Link>>,
        len: usize,
    ) -> Result<(Reservation, Rc<Appender>, ClientId), Error> {
        let home = view.id();
        let extents = &self.0.extents[usize::from(home.0)];
        let extent_len = self.0.plan.geometry().extent_len;
        let (mut attempts, mut waits) = (0, 0);
        loop {
            let owner = self.id();
            let reserved = extents.reserve::<F, S>(&*self.0.control, owner, view, extent_len, len).await;
            let failed = match reserved {
                Ok((place, appender)) => return Ok((place, appender, owner)),
                Err(NoRoom::Grant(no_space @ GrantError::NoSpace(_))) => return Err(no_space.into()),
                Err(failed) => failed,
            };
            // Whoever is to grant it is not ready, or dead and nobody has taken over yet: that takes as long as it takes.
            let is_wait = matches!(failed, NoRoom::Grant(_));
            let (why, next) = match failed {
                NoRoom::Grant(GrantError::NotNow(why)) => (why, self.0.views.look_again(home, waits).await),
                NoRoom::Link(error) => (error.to_string(), self.0.views.renew(view).await),
                NoRoom::Grant(error) => {
                    let next = match self.0.views.reach_primary(view).await {
                        Ok(_) if waits > 0 => self.0.views.look_again(home, waits).await,
                        next => next,
                    };
                    (error.to_string(), next)
                }
                NoRoom::Overtaken => ("its view is out of date".to_owned(), self.0.views.view(home).await),
            };
            attempts += u32::from(!is_wait);
            waits += u32::from(is_wait);
            match next {
                Ok(next) if attempts < MOST_RESERVATIONS => *view = next,
                _ => return Err(Error::Unavailable { why }),
            }
            if !view.is_open() {
                *view = self.begin_write(home).await?;
            }
        }
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
        let (home, partition) = self.0.map.route(hash);
        self.run(OpKind::Get, meter, async {
            let view = self.begin(home).await?;
            let cx = self.context(key, hash, partition, &view, meter);
            let views = OperationViews::of_read(&self.0);
            let outcome = with_commit!(self, commit => get_through(&cx, &views, commit, known, target));
            match outcome.map_err(|f| self.failed(f, &views, hash, known, false))? {
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
        let (home, partition) = self.0.map.route(hash);
        self.run(OpKind::Exists, &meter, async {
            let view = self.begin(home).await?;
            let cx = self.context(key, hash, partition, &view, &meter);
            let views = OperationViews::of_read(&self.0);
            let outcome = with_commit!(self, commit => exists_through(&cx, &views, commit, known));
            let found = outcome.map_err(|f| self.failed(f, &views, hash, known, false))?;
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
        let (home, partition) = self.0.map.route(hash);
        self.run(OpKind::Put, meter, async {
            for _ in 0..MOST_EVICTIONS {
                if let Some(version) = self.put_as_one(request, hash, home, partition, known, meter).await? {
                    return Ok(version);
                }
            }
            Err(Error::Unavailable { why: "this client is taken for lost again and again".into() })
        })
        .await
    }

    /// A PUT under one id. `None`: the client was taken for lost meanwhile, and the PUT did not happen and never will.
    async fn put_as_one(
        &self,
        request: &PutRequest<'_>,
        hash: KeyHash,
        home: HomeId,
        partition: u32,
        known: Known,
        meter: &Meter,
    ) -> Result<Option<Version>, Error> {
        let key = request.key;
        let mut view = self.begin_write(home).await?;
        let len = entry_len(key.len(), request.value.len());
        let (place, appender, owner) = self.reserve(&mut view, len).await?;
        let cx = self.context(key, hash, partition, &view, meter);
        self.0.sequence.set(self.0.sequence.get() + 1);
        let entry = Entry {
            client: owner,
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
        let views = OperationViews::of_put(&self.0, owner);
        let condition = request.condition;
        let outcome = with_commit!(self, commit => {
            put_through(&cx, &views, commit, known, condition, &staged, &mut unused)
        });
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
        let (dead, plan) = (&self.0.dead[usize::from(home.0)], &self.0.plan);
        let now = self.0.open_view(home);
        dead.note_word(plan, now.as_deref(), staged.replaced());
        if is_dead {
            dead.note(plan, now.as_deref(), at, len);
        }
        let outcome = match (outcome, views.evicted_in()) {
            (Err(failure), Some(epoch)) => self.settle_evicted(&cx, failure, epoch).await?,
            (outcome, _) => Some(outcome.map_err(|f| self.failed(f, &views, hash, known, true))?),
        };
        match outcome {
            None => Ok(None),
            Some(PutOutcome::Done(found)) => {
                // An own write is news, not a stale cache; that the word was stale shows in conflicts.
                self.0.cache.borrow_mut().remember(hash, found, false);
                Ok(Some(Version::of(found.word)))
            }
            Some(PutOutcome::Overwritten { word }) => {
                self.0.cache.borrow_mut().forget(hash, known.is_some());
                Ok(Some(Version::of(word)))
            }
            Some(PutOutcome::Rejected(rejection)) => {
                self.0.cache.borrow_mut().forget(hash, false);
                Err(Error::Rejected(match rejection {
                    Rejection::Exists(word) => Rejected::Exists(Version::of(word)),
                    Rejection::Absent => Rejected::Absent,
                    Rejection::Version(word) => Rejected::OtherVersion(Version::of(word)),
                }))
            }
        }
    }

    /// What became of a PUT whose client was taken for lost: its entry lies in an extent that others seal by now, so nothing of
    /// it may be posted again. `epoch` is that of the view in which it failed. `None`: it never happened, and never will.
    async fn settle_evicted(
        &self,
        cx: &Context<'_, F>,
        failure: Failure,
        epoch: Epoch,
    ) -> Result<Option<PutOutcome>, Error> {
        let unknown = || Error::Unknown { why: "this client was taken for lost in the middle of it".into() };
        let Some(doubt) = failure.in_doubt else {
            return if failure.effect == Effect::None { Ok(None) } else { Err(unknown()) };
        };
        let mut view = self.begin(cx.home.id()).await.map_err(|_| unknown())?;
        for _ in 0..MOST_RESERVATIONS {
            let cx = cx.in_view(&view);
            let settled = match with_commit!(self, commit => settle_in_doubt(&cx, commit, &doubt)) {
                Ok(settled) => settled,
                Err(failure) if failure.is_of_view() => {
                    view = self.0.views.renew(&view).await.map_err(|_| unknown())?;
                    continue;
                }
                Err(_) => return Err(unknown()),
            };
            return match settled {
                Settled::Standing => Ok(Some(PutOutcome::Done(Found { slot: doubt.slot, word: doubt.to }))),
                Settled::Overwritten => Ok(Some(PutOutcome::Overwritten { word: doubt.to })),
                Settled::NotApplied => Ok(None),
                Settled::NotYet if view.epoch() != epoch => Ok(None),
                Settled::NotYet | Settled::Unknown => Err(unknown()),
            };
        }
        Err(unknown())
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
        let (home, partition) = self.0.map.route(hash);
        self.run(OpKind::Delete, meter, async {
            let view = self.begin_write(home).await?;
            let cx = self.context(key, hash, partition, &view, meter);
            let version = version.map(Version::word);
            let views = OperationViews::of_delete(&self.0);
            let outcome = with_commit!(self, commit => delete_through(&cx, &views, commit, known, version));
            let outcome = outcome.map_err(|f| self.failed(f, &views, hash, known, true))?;
            self.0.cache.borrow_mut().forget(hash, false);
            match outcome {
                DeleteOutcome::Deleted(word) => {
                    let dead = &self.0.dead[usize::from(home.0)];
                    dead.note_word(&self.0.plan, self.0.open_view(home).as_deref(), word);
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

    fn failed(
        &self,
        failure: Failure,
        views: &OperationViews<'_, F, S>,
        hash: KeyHash,
        known: Known,
        is_write: bool,
    ) -> Error {
        if known.is_some() {
            self.0.cache.borrow_mut().forget(hash, false);
        }
        let error = Error::of(failure, is_write);
        match (error, views.stopped_by.take()) {
            (Error::Unavailable { .. }, Some(Stopped::UnderReplicated(error))) => error,
            (Error::Unavailable { why }, Some(Stopped::NoWay(no_way))) => {
                Error::Unavailable { why: with_reason(why, &no_way) }
            }
            (Error::Unknown { why }, Some(Stopped::NoWay(no_way))) => {
                Error::Unknown { why: with_reason(why, &no_way) }
            }
            (error, _) => error,
        }
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

impl<F: Fabric, S: Space + Routes<F>> Inner<F, S> {
    /// The view of a home, if there is one that may be changed.
    fn open_view(&self, home: HomeId) -> Option<Rc<Home<F::Link>>> {
        self.views.current(home).filter(|view| view.is_open())
    }

    /// Whether a write may go to a home of which so few copies are left.
    fn check_floor(&self, copies: usize) -> Result<(), Error> {
        let wanted = usize::from(self.map.write_floor);
        if copies < wanted && !self.options.allow_under_replicated {
            return Err(Error::UnderReplicated { copies, wanted });
        }
        Ok(())
    }
}

/// The views that one operation goes through.
struct OperationViews<'a, F: Fabric, S: Space + Routes<F>> {
    inner: &'a Inner<F, S>,
    is_write: bool,
    /// Whose extent the operation's entry lies in.
    owner: Option<ClientId>,
    stopped_by: Cell<Option<Stopped>>,
}

/// Why an operation got no further view.
enum Stopped {
    NoWay(NoWay),
    UnderReplicated(Error),
    /// The entry lies in an extent that is not this client's any more. The view that was lost was of that epoch.
    Evicted(Epoch),
}

impl<'a, F: Fabric, S: Space + Routes<F>> OperationViews<'a, F, S> {
    fn of_read(inner: &'a Inner<F, S>) -> Self {
        OperationViews { inner, is_write: false, owner: None, stopped_by: Cell::new(None) }
    }

    fn of_delete(inner: &'a Inner<F, S>) -> Self {
        OperationViews { is_write: true, ..OperationViews::of_read(inner) }
    }

    fn of_put(inner: &'a Inner<F, S>, owner: ClientId) -> Self {
        OperationViews { owner: Some(owner), ..OperationViews::of_delete(inner) }
    }

    /// Whether the client was taken for lost on the way, and the epoch of the view that it lost then.
    fn evicted_in(&self) -> Option<Epoch> {
        let stopped_by = self.stopped_by.take();
        let epoch = match stopped_by {
            Some(Stopped::Evicted(epoch)) => Some(epoch),
            _ => None,
        };
        self.stopped_by.set(stopped_by);
        epoch
    }

    async fn next(&self, lost: &Home<F::Link>) -> Result<Rc<Home<F::Link>>, Stopped> {
        if self.inner.map.commit == CommitKind::Snapshot {
            return Err(Stopped::NoWay(NoWay::NothingLost));
        }
        let view = self.inner.views.renew(lost).await.map_err(Stopped::NoWay)?;
        if self.owner.is_some_and(|owner| owner != self.inner.control.id()) {
            return Err(Stopped::Evicted(lost.epoch()));
        }
        if self.is_write {
            self.inner.check_floor(view.members().len()).map_err(Stopped::UnderReplicated)?;
        }
        Ok(view)
    }
}

impl<F: Fabric, S: Space + Routes<F>> Views<F> for OperationViews<'_, F, S> {
    async fn renew(&self, lost: &Home<F::Link>) -> Result<Rc<Home<F::Link>>, NoView> {
        self.next(lost).await.map_err(|stopped| {
            self.stopped_by.set(Some(stopped));
            NoView
        })
    }
}

fn unavailable(no_way: NoWay) -> Error {
    Error::Unavailable { why: no_way.to_string() }
}

fn with_reason(why: String, no_way: &NoWay) -> String {
    match no_way {
        NoWay::NothingLost => why,
        _ => format!("{why}; {no_way}"),
    }
}

impl<F: Fabric, S: Space + Routes<F>> Drop for Inner<F, S> {
    fn drop(&mut self) {
        let owner = self.control.id();
        let homes = self.map.homes.iter().zip(&self.extents).zip(&self.dead);
        for ((home, extents), dead) in homes {
            if let Some(view) = self.open_view(home.id) {
                extents.close::<F, S>(&*self.control, owner, &view);
                drop(dead.tell(&view));
            } else {
                extents.abandon(&*self.control);
            }
        }
    }
}
