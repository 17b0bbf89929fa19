//! Where all requests meet: one coordinator behind one lock, its beat, and its store, for which nobody waits who need not.

use crate::{Answer, Campaign, Coordinator, Instant, Settings, State, Store, StoreError, Wait};
use farrow_control::coordination::{Ask, Denial, Tell};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two attempts to lead, and between two signs of life to the store.
const CAMPAIGN_PAUSE: Duration = Duration::from_millis(500);
/// The longest wait of the beat while another one leads.
const IDLE_PAUSE: Duration = Duration::from_millis(500);
/// Before a store that has failed is tried again.
const STORE_PAUSE: Duration = Duration::from_millis(100);

/// Where all requests meet.
pub(crate) struct Desk {
    settings: Settings,
    advertised: String,
    description: String,
    seat: Mutex<Seat>,
    /// Another state is stored, or somebody else leads, or it is over.
    changed: Condvar,
    /// There is something to store, or it is over.
    unstored: Condvar,
    /// Never locked by whoever holds the seat: it may take as long as a disk or another machine does.
    store: Mutex<Box<dyn Store>>,
}

struct Seat {
    leading: Option<Leading>,
    /// Who leads otherwise, if that is known.
    leader: Option<String>,
    is_closed: bool,
    /// Counts the coordinators that have led here: after a store that failed, too, as that takes back what is not stored.
    terms: u64,
    /// What was said last of a store that does not work: it is said once.
    complaint: Option<String>,
}

struct Leading {
    core: Coordinator,
    term: u64,
    /// Until when nobody else can lead; without an end where nobody else ever can.
    until: Option<Instant>,
}

impl Desk {
    pub(crate) fn new(settings: Settings, store: Box<dyn Store>, advertised: &str) -> Desk {
        let advertised = advertised.to_owned();
        let seat = Seat { leading: None, leader: None, is_closed: false, terms: 0, complaint: None };
        let (description, seat) = (store.describe(), Mutex::new(seat));
        let (changed, unstored) = (Condvar::new(), Condvar::new());
        Desk { settings, advertised, description, seat, changed, unstored, store: Mutex::new(store) }
    }

    pub(crate) fn describe(&self) -> &str {
        &self.description
    }

    pub(crate) fn leads(&self) -> bool {
        self.seat().leads(boottime())
    }

    /// Carries out a request and returns the answer, when there is one. What it depends on is stored by then (M-1).
    pub(crate) fn answer(&self, ask: &Ask) -> Tell {
        let mut seat = self.seat();
        let now = boottime();
        let Some(core) = seat.core(now) else { return seat.not_leading() };
        let before = core.version();
        let answer = core.answer(now, ask, &self.description);
        if core.version() != before {
            core.tick(now);
            self.unstored.notify_one();
        }
        match answer {
            Answer::Now(tell) => match self.wait_until_stored(seat) {
                Ok(()) => tell,
                Err(denial) => Tell::Denied(denial),
            },
            Answer::Later(wait) => self.wait(seat, &wait, now + self.settings.lease_ns / 4),
        }
    }

    /// Waits until the state as it is now is stored. If it cannot be stored it has not happened.
    fn wait_until_stored(&self, mut seat: MutexGuard<'_, Seat>) -> Result<(), Denial> {
        let Some(Leading { core, term, .. }) = &seat.leading else { return Err(seat.denial()) };
        let (term, version) = (*term, core.version());
        loop {
            let now = boottime();
            match &seat.leading {
                Some(leading) if leading.term != term => {
                    return Err(Denial::Store(seat.complaint.clone().unwrap_or_default()));
                }
                Some(leading) if seat.leads(now) && leading.core.is_stored(version) => return Ok(()),
                Some(_) if seat.leads(now) => {}
                _ => return Err(seat.denial()),
            }
            seat = self.changed.wait_timeout(seat, IDLE_PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait(&self, mut seat: MutexGuard<'_, Seat>, wait: &Wait, due: Instant) -> Tell {
        loop {
            let now = boottime();
            let Some(core) = seat.core(now) else { return seat.not_leading() };
            if let Some(tell) = core.poll(wait, now >= due) {
                return tell;
            }
            let left = Duration::from_nanos(due.since(now).max(1));
            seat = self.changed.wait_timeout(seat, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Stores what changes, until it is over.
    pub(crate) fn keep_stored(&self) {
        loop {
            let has_nothing = |seat: &mut Seat| {
                !seat.is_closed
                    && seat.leading.as_ref().is_none_or(|leading| leading.core.unstored().is_none())
            };
            let seat =
                self.unstored.wait_while(self.seat(), has_nothing).unwrap_or_else(PoisonError::into_inner);
            let Some(leading) = seat.leading.as_ref().filter(|_| !seat.is_closed) else { return };
            let (term, version, state) = (leading.term, leading.core.version(), leading.core.state().clone());
            drop(seat);
            let result = self.lock_store().store(&state);
            let has_failed = matches!(result, Err(StoreError::Failed(_) | StoreError::Unusable(_)));
            self.note_stored(term, version, state, result);
            if has_failed {
                std::thread::sleep(STORE_PAUSE);
            }
        }
    }

    /// What became of a state that was to be stored. If it was not, it has not happened: the state is the stored one again, and
    /// everybody has a whole lease.
    fn note_stored(&self, term: u64, version: u64, state: State, result: Result<(), StoreError>) {
        let mut seat = self.seat();
        let next = seat.terms + 1;
        let Some(leading) = seat.leading.as_mut().filter(|leading| leading.term == term) else { return };
        match result {
            Ok(()) => {
                leading.core.stored(version, state);
                seat.complaint = None;
            }
            Err(StoreError::Deposed) => self.step_down(&mut seat),
            Err(error) => {
                leading.core = Coordinator::resume(
                    leading.core.stored_state().clone(),
                    self.settings.clone(),
                    boottime(),
                );
                leading.term = next;
                seat.terms = next;
                seat.complain(&error.to_string());
            }
        }
        self.changed.notify_all();
    }

    /// Decides what time decides, until it is over.
    pub(crate) fn beat(&self) {
        let mut seat = self.seat();
        while !seat.is_closed {
            let now = boottime();
            let pause = match seat.core(now) {
                None => IDLE_PAUSE,
                Some(core) => {
                    let next = core.tick(now);
                    if core.unstored().is_some() {
                        self.unstored.notify_one();
                    }
                    Duration::from_nanos(next.since(now).max(1)).max(Duration::from_millis(1))
                }
            };
            drop(seat);
            // Not on the condition that others wait for: requests that change something run the beat themselves.
            std::thread::sleep(pause.min(IDLE_PAUSE));
            seat = self.seat();
        }
    }

    /// Leads, or tries to, until it is over.
    pub(crate) fn lead(&self) {
        loop {
            {
                let seat = self.seat();
                let paused = self.changed.wait_timeout_while(seat, CAMPAIGN_PAUSE, |seat| !seat.is_closed);
                let seat = paused.unwrap_or_else(PoisonError::into_inner).0;
                if seat.is_closed {
                    return;
                }
                if seat.leading.is_some() {
                    drop(seat);
                    self.keep();
                    continue;
                }
            }
            if let Err(error) = self.campaign() {
                self.seat().complain(&error.to_string());
            }
        }
    }

    /// Tries to lead.
    ///
    /// # Errors
    /// [`StoreError::Unusable`].
    pub(crate) fn campaign(&self) -> Result<(), StoreError> {
        let started = boottime();
        let outcome = {
            let mut store = self.lock_store();
            match store.campaign(&self.advertised) {
                Ok(Campaign::Leads(state)) => store.keep().map(|kept| (state, kept)),
                Ok(Campaign::Follows(leader)) => {
                    drop(store);
                    self.seat().leader = leader;
                    return Ok(());
                }
                Err(error) => Err(error),
            }
        };
        let (state, kept) = match outcome {
            Ok(led) => led,
            Err(StoreError::Unusable(why)) => return Err(StoreError::Unusable(why)),
            Err(error) => {
                self.seat().complain(&error.to_string());
                return Ok(());
            }
        };
        let (now, until) = (boottime(), kept.map(|kept| started + kept.as_nanos() as u64));
        if let Some(state) = &state
            && state.map.name != self.settings.name
        {
            let (there, here) = (&state.map.name, &self.settings.name);
            return Err(StoreError::Unusable(format!(
                "the state in {} is that of cluster \"{there}\", not of \"{here}\": check cluster.name and coordinator.store",
                self.description
            )));
        }
        let is_new = state.is_none();
        let mut core = match state {
            None => Coordinator::new(self.settings.clone(), now),
            Some(state) => Coordinator::resume(*state, self.settings.clone(), now),
        };
        if core.unstored().is_some() {
            // What is stored is where a store that fails later goes back to.
            if let Err(error) = self.lock_store().store(core.state()) {
                self.seat().complain(&error.to_string());
                return Ok(());
            }
            core.stored(core.version(), core.state().clone());
        }
        let mut seat = self.seat();
        seat.terms += 1;
        seat.leading = Some(Leading { core, term: seat.terms, until });
        seat.leader = None;
        tracing::info!(store = self.description, is_new, "leading");
        self.changed.notify_all();
        Ok(())
    }

    /// Stays the one that leads.
    fn keep(&self) {
        let started = boottime();
        let kept = self.lock_store().keep();
        let mut seat = self.seat();
        match (kept, &mut seat.leading) {
            (_, None) => {}
            (Ok(kept), Some(leading)) => {
                leading.until = kept.map(|kept| started + kept.as_nanos() as u64);
                seat.complaint = None;
            }
            (Err(StoreError::Deposed), Some(_)) => self.step_down(&mut seat),
            (Err(error), Some(leading)) => {
                let is_over = leading.until.is_some_and(|until| boottime() >= until);
                seat.complain(&error.to_string());
                if is_over {
                    self.step_down(&mut seat);
                }
            }
        }
    }

    fn step_down(&self, seat: &mut Seat) {
        tracing::warn!(store = self.description, "not leading any more");
        seat.leading = None;
        self.changed.notify_all();
    }

    /// Nobody is answered any more.
    pub(crate) fn close(&self) {
        // Behind a fault too.
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.changed.notify_all();
        self.unstored.notify_all();
    }

    /// Another one may lead.
    pub(crate) fn resign(&self) {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).leading = None;
        self.store.lock().unwrap_or_else(PoisonError::into_inner).resign();
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        // A panic behind this lock may have left a change half done, and ends the daemon.
        self.seat.lock().expect("the daemon ends when a holder of this lock panics")
    }

    fn lock_store(&self) -> MutexGuard<'_, Box<dyn Store>> {
        self.store.lock().expect("the daemon ends when a holder of this lock panics")
    }
}

impl Seat {
    fn leads(&self, now: Instant) -> bool {
        let leading = self.leading.as_ref().filter(|leading| leading.until.is_none_or(|until| now < until));
        leading.is_some() && !self.is_closed
    }

    /// The coordinator, if it leads for certain: another one may have begun when it does not.
    fn core(&mut self, now: Instant) -> Option<&mut Coordinator> {
        match self.leads(now) {
            true => self.leading.as_mut().map(|leading| &mut leading.core),
            false => None,
        }
    }

    fn denial(&self) -> Denial {
        Denial::NotLeading { leader: self.leader.clone() }
    }

    fn not_leading(&self) -> Tell {
        Tell::Denied(self.denial())
    }

    fn complain(&mut self, what: &str) {
        if self.complaint.as_deref() != Some(what) {
            tracing::error!(error = what, "the store does not work; nothing is decided until it does");
            self.complaint = Some(what.to_owned());
        }
    }
}

/// CLOCK_BOOTTIME runs on while the machine is suspended, as the leases of everybody else do.
fn boottime() -> Instant {
    let now = clock_gettime(ClockId::Boottime);
    Instant(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
