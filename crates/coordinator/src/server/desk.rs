//! Where all requests meet: one coordinator behind one lock, its store, and its beat.

use crate::{Answer, Campaign, Coordinator, Instant, Settings, State, Store, StoreError, Wait};
use farrow_control::coordination::{Ask, Denial, Tell};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two attempts to lead, and between two signs of life to the store.
const CAMPAIGN_PAUSE: Duration = Duration::from_millis(500);
/// The longest wait of the beat while another one leads.
const IDLE_PAUSE: Duration = Duration::from_millis(500);

/// Where all requests meet.
pub(crate) struct Desk {
    settings: Settings,
    advertised: String,
    description: String,
    seat: Mutex<Seat>,
    /// The state is another one, or somebody else leads, or it is over.
    changed: Condvar,
    store: Mutex<Box<dyn Store>>,
}

struct Seat {
    leading: Option<Leading>,
    /// Who leads otherwise, if that is known.
    leader: Option<String>,
    is_closed: bool,
    /// What was said last of a store that does not work: it is said once.
    complaint: Option<String>,
}

struct Leading {
    core: Coordinator,
    /// The core's state as it is stored: what to go back to when storing fails.
    stored: State,
    /// Until when nobody else can lead; without an end where nobody else ever can.
    until: Option<Instant>,
}

impl Desk {
    pub(crate) fn new(settings: Settings, store: Box<dyn Store>, advertised: &str) -> Desk {
        let advertised = advertised.to_owned();
        let seat = Seat { leading: None, leader: None, is_closed: false, complaint: None };
        let (description, seat) = (store.describe(), Mutex::new(seat));
        Desk { settings, advertised, description, seat, changed: Condvar::new(), store: Mutex::new(store) }
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
        let answer = core.answer(now, ask, &self.description);
        if core.unstored().is_some() {
            core.tick(now);
        }
        if let Err(denial) = self.commit(&mut seat, now) {
            return Tell::Denied(denial);
        }
        match answer {
            Answer::Now(tell) => tell,
            Answer::Later(wait) => self.wait(seat, &wait, now + self.settings.lease_ns / 4),
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

    /// Stores what has changed. If it cannot be stored it has not happened: the state is the stored one again, and everybody
    /// has a whole lease.
    fn commit(&self, seat: &mut Seat, now: Instant) -> Result<(), Denial> {
        let Some(leading) = &mut seat.leading else {
            return Err(Denial::NotLeading { leader: seat.leader.clone() });
        };
        let Some(state) = leading.core.unstored().cloned() else { return Ok(()) };
        let result = self.lock_store().store(&state);
        match result {
            Ok(()) => {
                leading.stored = state;
                leading.core.stored();
                seat.complaint = None;
                self.changed.notify_all();
                Ok(())
            }
            Err(StoreError::Deposed) => {
                self.step_down(seat);
                Err(Denial::NotLeading { leader: None })
            }
            Err(error) => {
                let stored = leading.stored.clone();
                leading.core = Coordinator::resume(stored, self.settings.clone(), now);
                seat.complain(&error.to_string());
                Err(Denial::Store(error.to_string()))
            }
        }
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
                    let _ = self.commit(&mut seat, now);
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
        let (core, stored) = match state {
            None => {
                let core = Coordinator::new(self.settings.clone(), now);
                let stored = core.state().clone();
                (core, stored)
            }
            Some(state) => (Coordinator::resume((*state).clone(), self.settings.clone(), now), *state),
        };
        let mut seat = self.seat();
        seat.leading = Some(Leading { core, stored, until });
        seat.leader = None;
        if self.commit(&mut seat, now).is_err() && is_new {
            // There is no stored state to go on with yet.
            seat.leading = None;
            return Ok(());
        }
        if seat.leading.is_some() {
            tracing::info!(store = self.description, is_new, "leading");
        }
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

    fn not_leading(&self) -> Tell {
        Tell::Denied(Denial::NotLeading { leader: self.leader.clone() })
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
