//! Where the threads of a run meet between phases, and learn when one of them is gone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Where a fixed number of threads meet.
pub(crate) struct Rendezvous {
    state: Mutex<State>,
    changed: Condvar,
    party: usize,
}

#[derive(Default)]
struct State {
    arrived: usize,
    meetings: u64,
    is_broken: bool,
}

/// Somebody will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Breaks the meeting when dropped, unless [`Seat::leave`] was called: a thread that panics must not be waited for.
pub(crate) struct Seat<'a>(&'a Rendezvous);

impl Rendezvous {
    pub(crate) fn new(party: usize) -> Rendezvous {
        Rendezvous { state: Mutex::default(), changed: Condvar::new(), party }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seat(&self) -> Seat<'_> {
        Seat(self)
    }

    fn meet(&self) -> Result<(), Broken> {
        let mut state = self.state();
        state.arrived += 1;
        if state.arrived == self.party {
            state.arrived = 0;
            state.meetings += 1;
            self.changed.notify_all();
        } else {
            let meeting = state.meetings;
            let waits = |state: &mut State| state.meetings == meeting && !state.is_broken;
            state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
            if state.meetings != meeting {
                return Ok(());
            }
        }
        if state.is_broken { Err(Broken) } else { Ok(()) }
    }
}

impl Seat<'_> {
    /// Waits until everybody is here.
    pub(crate) fn meet(&self) -> Result<(), Broken> {
        self.0.meet()
    }

    /// Goes without breaking anything.
    pub(crate) fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.state().is_broken = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_meets_again_and_again() {
        let rendezvous = Rendezvous::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let seat = rendezvous.seat();
                    for _ in 0..100 {
                        seat.meet().unwrap();
                    }
                    seat.leave();
                });
            }
        });
        assert_eq!(rendezvous.state().meetings, 100);
    }

    #[test]
    fn nobody_waits_for_a_thread_that_is_gone() {
        let rendezvous = Rendezvous::new(2);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| rendezvous.seat().meet());
            drop(rendezvous.seat());
            assert_eq!(waits.join().unwrap(), Err(Broken));
        });
    }
}
