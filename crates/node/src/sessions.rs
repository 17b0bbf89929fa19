//! All connections: how many there may be, and how they end.

use crate::clients::SessionId;
use crate::wire::Wire;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections that have not proved the secret yet. When there are so many, the oldest make room, but not before they had
/// [`LEAST_STAY`].
const MAX_ENTERING: usize = 128;
/// A handshake takes milliseconds; on a busy machine, more.
const LEAST_STAY: Duration = Duration::from_secs(1);
/// A session holds a few small values and a message.
const STACK_LEN: usize = 512 << 10;

/// Connections and the threads that serve them.
#[derive(Debug)]
pub(crate) struct Sessions {
    max_inside: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    is_closed: bool,
    inside: usize,
    all: BTreeMap<SessionId, Seat>,
}

#[derive(Debug)]
struct Seat {
    wire: Wire,
    since: Instant,
    is_inside: bool,
    thread: Option<JoinHandle<()>>,
}

/// A connection's right to be served. It ends with this.
#[derive(Debug)]
pub(crate) struct Ticket {
    sessions: Arc<Sessions>,
    id: SessionId,
}

impl Sessions {
    /// At most `max_inside` connections that have proved the secret.
    pub(crate) fn new(max_inside: usize) -> Arc<Sessions> {
        Arc::new(Sessions { max_inside, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Serves a connection on a thread of its own. Waits while too many strangers are entering.
    ///
    /// # Errors
    /// There is no thread to be had; the connection is closed.
    pub(crate) fn enter(
        self: &Arc<Self>,
        wire: Wire,
        serve: impl FnOnce(Wire, Ticket) + Send + 'static,
    ) -> io::Result<()> {
        let id = {
            let mut state = self.wait_for_room();
            if state.is_closed {
                return Ok(());
            }
            let id = SessionId(state.next);
            state.next += 1;
            let seat = Seat { wire: wire.clone(), since: Instant::now(), is_inside: false, thread: None };
            state.all.insert(id, seat);
            id
        };
        let ticket = Ticket { sessions: self.clone(), id };
        let builder = thread::Builder::new().name(format!("farrow-session-{}", id.0)).stack_size(STACK_LEN);
        let thread = builder.spawn(move || serve(wire, ticket))?;
        // Without a seat the thread has ended already.
        if let Some(seat) = self.state().all.get_mut(&id) {
            seat.thread = Some(thread);
        }
        Ok(())
    }

    fn wait_for_room(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        loop {
            let mut entering = state.all.values().filter(|seat| !seat.is_inside);
            let oldest = entering.next().map(|seat| (seat.wire.clone(), seat.since.elapsed()));
            match oldest {
                Some((wire, stayed)) if entering.count() + 1 >= MAX_ENTERING && !state.is_closed => {
                    if stayed >= LEAST_STAY {
                        wire.cut();
                    }
                    let wait = LEAST_STAY.saturating_sub(stayed).max(Duration::from_millis(10));
                    let waited = self.changed.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                _ => return state,
            }
        }
    }

    /// Ends all connections, and lets no other in.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.all.values().for_each(|seat| seat.wire.cut());
        self.changed.notify_all();
    }

    /// Waits for all threads that serve connections; after [`Sessions::close`], when nobody enters any more.
    pub(crate) fn join(&self) {
        loop {
            let threads: Vec<_> =
                self.state().all.values_mut().filter_map(|seat| seat.thread.take()).collect();
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                // What a thread has to say of its panic, it has said.
                let _ = thread.join();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step; a panic leaves none half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// The peer has proved the secret. Says whether it can be served.
    pub(crate) fn admit(&self) -> bool {
        let mut state = self.sessions.state();
        if state.inside >= self.sessions.max_inside || state.is_closed {
            return false;
        }
        state.inside += 1;
        if let Some(seat) = state.all.get_mut(&self.id) {
            seat.is_inside = true;
        }
        self.sessions.changed.notify_all();
        true
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.sessions.state();
        let seat = state.all.remove(&self.id);
        if seat.is_some_and(|seat| {
            seat.wire.cut();
            seat.is_inside
        }) {
            state.inside -= 1;
        }
        self.sessions.changed.notify_all();
    }
}
