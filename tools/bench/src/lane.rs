//! One thread's load: operations one after the other, or several in flight, as fast as they end or on a schedule.

use crate::settings::{Length, Settings};
use crate::store::{Failed, Look, Store, give_way};
use crate::stored::{Inserted, Stored};
use crate::tally::{Tally, add_cost};
use crate::workload::arrival::Arrivals;
use crate::workload::key::key_of;
use crate::workload::mix::{Op, OpKind, Operations};
use crate::workload::value::{fill, verify};
use farrow_fabric::Cost;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many operations of one thread refused for want of room end the load: the rest would fare alike.
const FULL_IS_ENOUGH: u64 = 64;
/// A schedule that the store cannot keep is given up after this many times its length.
const PATIENCE: u32 = 2;

/// What the threads of a load share.
pub(crate) struct Shared<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) stored: &'a Stored,
    /// Set when the memory is full.
    pub(crate) stop: &'a AtomicBool,
}

/// One thread's load, through its phases.
pub(crate) struct Lane<'a, S> {
    shared: &'a Shared<'a>,
    store: &'a S,
    thread: u32,
    done: &'a AtomicU64,
    operations: RefCell<Operations>,
    pub(crate) inserted: RefCell<Inserted>,
    sequence: Cell<u64>,
}

/// What one thread did in one phase.
pub(crate) struct Phase {
    pub(crate) tally: Tally,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    /// Operations that were due and never started.
    pub(crate) not_started: u64,
}

/// The state of a phase that its operations in flight share.
struct Run {
    start: Instant,
    /// When the last operation ended.
    now: Cell<Instant>,
    taken: Cell<u64>,
    length: Length,
    schedule: Option<RefCell<Arrivals>>,
    tally: RefCell<Tally>,
    not_started: Cell<u64>,
}

impl<'a, S: Store> Lane<'a, S> {
    pub(crate) fn new(shared: &'a Shared<'a>, store: &'a S, thread: u32, done: &'a AtomicU64) -> Self {
        Lane {
            shared,
            store,
            thread,
            done,
            operations: RefCell::new(Operations::new(&shared.settings.plan(), thread)),
            inserted: RefCell::default(),
            sequence: Cell::new(1),
        }
    }

    /// Runs one phase to its end. `seed` keeps the schedules of phases apart.
    pub(crate) fn run(&self, length: Length, seed: u64) -> Phase {
        let settings = self.shared.settings;
        let schedule = settings.rate.map(|rate| {
            let own = rate / f64::from(settings.threads);
            RefCell::new(Arrivals::poisson(own, seed, self.thread).expect("the rate was checked"))
        });
        let start = Instant::now();
        let run = Run {
            start,
            now: Cell::new(start),
            taken: Cell::new(0),
            length: length.of_thread(self.thread, settings.threads),
            schedule,
            tally: RefCell::default(),
            not_started: Cell::new(0),
        };
        if settings.in_flight == 1 {
            self.store.block_on(self.work(&run));
        } else {
            let workers = (0..settings.in_flight).map(|_| Box::pin(self.work(&run)));
            self.store.block_on(self.store.together(farrow_fabric::join_all(workers)));
        }
        let Run { now, tally, not_started, .. } = run;
        Phase { tally: tally.into_inner(), start, end: now.get(), not_started: not_started.get() }
    }

    /// Operations one after the other, until the phase ends.
    async fn work(&self, run: &Run) {
        let settings = self.shared.settings;
        let mut buffer = vec![0; settings.sizes.largest() as usize];
        let takes_turns = settings.in_flight > 1;
        while let Some((op, due)) = self.next(run) {
            let key = key_of(op.key_index);
            let value = &mut buffer[..op.value_len as usize];
            if op.kind.writes() {
                self.sequence.set(self.sequence.get() + 1);
                fill(value, &key, u64::from(self.thread + 1) << 48 | self.sequence.get());
            }
            let start = match due {
                None => Instant::now(),
                Some(due) => {
                    self.store.wait_until(due).await;
                    due
                }
            };
            let (answer, cost, read) = self.perform(op.kind, &key, value).await;
            let end = Instant::now();
            run.now.set(end);
            self.note(run, &op, &key, end - start, answer, &cost, read);
            if takes_turns {
                give_way().await;
            }
        }
    }

    /// The next operation, and when it is due in an open loop; `None` ends the phase.
    fn next(&self, run: &Run) -> Option<(Op, Option<Instant>)> {
        if self.shared.stop.load(Ordering::Relaxed) {
            return None;
        }
        let taken = run.taken.get();
        if matches!(run.length, Length::Ops(ops) if taken >= ops) {
            return None;
        }
        run.taken.set(taken + 1);
        let due = match &run.schedule {
            None => {
                if matches!(run.length, Length::Time(time) if run.now.get() - run.start >= time) {
                    return None;
                }
                None
            }
            Some(schedule) => {
                let mut schedule = schedule.borrow_mut();
                let due = Duration::from_nanos(schedule.next().expect("a schedule is endless"));
                if let Length::Time(time) = run.length {
                    if due >= time {
                        return None;
                    }
                    if run.now.get() - run.start >= time * PATIENCE {
                        let rest = schedule.by_ref().take_while(|due| Duration::from_nanos(*due) < time);
                        run.not_started.set(run.not_started.get() + 1 + rest.count() as u64);
                        // The others in flight find the schedule run out.
                        return None;
                    }
                }
                Some(run.start + due)
            }
        };
        let op = self.operations.borrow_mut().next().expect("operations are endless");
        Some((op, due))
    }

    /// One operation: whether its key was there, what it cost, and what it read.
    async fn perform(
        &self,
        kind: OpKind,
        key: &[u8],
        value: &[u8],
    ) -> (Result<bool, Failed>, Cost, Option<S::Value>) {
        match kind {
            OpKind::Get => {
                let (answer, cost) = self.store.get(key).await;
                split(answer, cost)
            }
            OpKind::Put | OpKind::Insert => {
                let (answer, cost) = self.store.put(key, value).await;
                (answer.map(|()| true), cost, None)
            }
            OpKind::Delete => {
                let (answer, cost) = self.store.delete(key).await;
                (answer, cost, None)
            }
            OpKind::ReadModifyWrite => {
                let (answer, mut cost) = self.store.get(key).await;
                let (was_there, read) = match answer {
                    Ok(read) => (read.is_some(), read),
                    Err(failed) => return (Err(failed), cost, None),
                };
                let (answer, more) = self.store.put(key, value).await;
                add_cost(&mut cost, &more);
                (answer.map(|()| was_there), cost, read)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of one operation")]
    fn note(
        &self,
        run: &Run,
        op: &Op,
        key: &[u8],
        latency: Duration,
        answer: Result<bool, Failed>,
        cost: &Cost,
        read: Option<S::Value>,
    ) {
        let mut tally = run.tally.borrow_mut();
        match answer {
            Ok(was_there) => {
                tally.answered(op.kind, latency.as_nanos() as u64, cost, was_there);
                if self.shared.settings.verify {
                    self.check(&mut tally, op, key, was_there, read);
                }
                if op.kind.writes() || op.kind == OpKind::Delete {
                    let len = op.kind.writes().then_some(op.value_len);
                    let threads = u64::from(self.shared.settings.threads);
                    self.shared.stored.note(&mut self.inserted.borrow_mut(), op.key_index, threads, len);
                }
            }
            Err(failed) => {
                let is_full = failed.label == "full";
                if tally.failed(failed) >= FULL_IS_ENOUGH && is_full {
                    self.shared.stop.store(true, Ordering::Relaxed);
                }
            }
        }
        // One writer; the progress line may lag.
        self.done.store(self.done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Compares every byte that was read with what the key's value must be.
    fn check(&self, tally: &mut Tally, op: &Op, key: &[u8], was_there: bool, read: Option<S::Value>) {
        let name = || String::from_utf8_lossy(key).into_owned();
        if let Some(Err(bad)) = read.map(|value| value.look(|bytes| verify(bytes, key))) {
            tally.failed(Failed { label: "wrong", why: format!("{}: {bad}", name()) });
        }
        // Where nothing is deleted, a loaded key is always there.
        let must_be_there =
            self.shared.settings.mix.share(OpKind::Delete) == 0.0 && op.key_index < self.shared.settings.keys;
        if !was_there && must_be_there {
            tally.failed(Failed { label: "missing", why: format!("{} was loaded and is gone", name()) });
        }
    }
}

fn split<V>(answer: Result<Option<V>, Failed>, cost: Cost) -> (Result<bool, Failed>, Cost, Option<V>) {
    match answer {
        Ok(read) => (Ok(read.is_some()), cost, read),
        Err(failed) => (Err(failed), cost, None),
    }
}
