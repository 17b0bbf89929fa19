//! The completions of one thread: polled, or slept for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use farrow_fabric::{Corks, MAX_SEGMENTS, Registrar, TotalsCell, Why};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use crate::alarm::Alarm;
use crate::connect::{ConnectError, Connecting, LinkOptions};
use crate::link::{Core, VerbsLink};
use crate::memlock;
use crate::port::Port;
use crate::sys::{CallError, CompletionChannel, CompletionQueue, DomainRegistrar, Wc};

/// One thread's completion queue on one port, and the links whose completions arrive there. Cheap to clone.
///
/// A fabric calls [`Engine::poll`] from its `progress`, and [`Engine::idle`] and [`Engine::waker`] from its own; its buffers
/// are registered by [`Engine::registrar`]. Links of other providers may share totals and corks with it.
#[derive(Clone)]
pub struct Engine(Rc<Inner>);

struct Inner {
    // Links first: their queue pairs refer to the completion queue.
    links: RefCell<Vec<Slot>>,
    completions: Cell<Vec<Wc>>,
    to_wake: Cell<Vec<Waker>>,
    queue: Arc<CompletionQueue>,
    channel: Arc<CompletionChannel>,
    alarm: Arc<Alarm>,
    port: Arc<Port>,
    options: EngineOptions,
    shared: Shared,
}

/// What all links of a thread have in common, whatever their provider.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) totals: Rc<TotalsCell>,
    pub(crate) corks: Rc<Corks>,
}

#[derive(Default)]
struct Slot {
    /// Another with each link of the slot, so that no completion is taken for that of a later link.
    generation: u16,
    core: Option<Rc<Core>>,
}

/// Which link of an engine: part of the id of its work requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId {
    pub(crate) slot: u16,
    pub(crate) generation: u16,
}

/// How an engine is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Links that the thread will have at a time. The completion queue is made for all of them with full send queues.
    pub max_links: u32,
    /// How each link is made.
    pub link: LinkOptions,
    /// How long to poll before sleeping; nothing chooses by the device: long on hardware, short on an emulated one,
    /// which needs the processor itself.
    pub spin: Option<Duration>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions { max_links: 64, link: LinkOptions::default(), spin: None }
    }
}

/// An engine could not be made.
#[derive(Debug, Error)]
pub enum EngineError {
    /// More completions at a time than the device can hold.
    #[error(
        "{links} RDMA links with {depth} work requests each need a completion queue of {needed} entries, and {device} has at \
         most {max}: fewer links per thread, or a smaller queue depth"
    )]
    TooDeep {
        /// The device.
        device: String,
        /// Links asked for.
        links: u32,
        /// Work requests of each.
        depth: u32,
        /// Entries needed.
        needed: u64,
        /// Entries there are.
        max: u32,
    },
    /// The device refused something.
    #[error("RDMA device {device}: {why}")]
    Device {
        /// Its name.
        device: String,
        /// What, why, and what to do.
        why: String,
    },
    /// No event descriptor.
    #[error("cannot make an event descriptor: {0}")]
    Alarm(#[source] std::io::Error),
}

/// Completions taken in one go.
const BATCH: usize = 64;
/// What polling costs on hardware is a core; what sleeping costs is an interrupt and a wake-up, some 5 µs.
const SPIN_HARDWARE: Duration = Duration::from_micros(50);
const SPIN_EMULATED: Duration = Duration::from_micros(5);

impl Engine {
    /// An engine on `port`. Totals and corks are those of the thread's fabric.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(
        port: &Arc<Port>,
        options: EngineOptions,
        totals: Rc<TotalsCell>,
        corks: Rc<Corks>,
    ) -> Result<Engine, EngineError> {
        let name = || port.candidate().device.clone();
        let depth = options.link.requests();
        let max_links = options.max_links.clamp(1, u32::from(u16::MAX));
        // Every work request may complete visibly: those that fail do, signalled or not.
        let needed = u64::from(max_links) * u64::from(depth);
        let max = port.limits().max_cqe;
        let Some(entries) = u32::try_from(needed).ok().filter(|needed| *needed <= max) else {
            return Err(EngineError::TooDeep { device: name(), links: max_links, depth, needed, max });
        };
        let device = |error: CallError| EngineError::Device { device: name(), why: memlock::explain(&error) };
        let context = port.domain().context();
        let channel = CompletionChannel::create(context).map_err(device)?;
        let queue = CompletionQueue::create(context, entries, Some(&channel), 0).map_err(device)?;
        let alarm = Alarm::new().map_err(|error| EngineError::Alarm(error.into()))?;
        Ok(Engine(Rc::new(Inner {
            links: RefCell::new((0..max_links).map(|_| Slot::default()).collect()),
            completions: Cell::new(vec![Wc::default(); BATCH]),
            to_wake: Cell::default(),
            queue,
            channel,
            alarm,
            port: Arc::clone(port),
            options,
            shared: Shared { totals, corks },
        })))
    }

    /// Begins a link: the queue pair is made, and [`Connecting::end`] is for the node.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(&self) -> Result<Connecting, ConnectError> {
        // Completions of links that are gone make room.
        self.poll();
        Connecting::start(self, &self.0.options.link)
    }

    /// Registers the thread's buffers for its links: [`farrow_fabric::Buffers::new`] takes it.
    pub fn registrar(&self) -> Rc<dyn Registrar> {
        Rc::new(DomainRegistrar::new(Arc::clone(self.0.port.domain())))
    }

    /// Where the links go out.
    pub fn port(&self) -> &Arc<Port> {
        &self.0.port
    }

    /// How long to poll before sleeping is worth its cost.
    pub fn spin(&self) -> Duration {
        let by_device = if self.0.port.candidate().emulated { SPIN_EMULATED } else { SPIN_HARDWARE };
        self.0.options.spin.unwrap_or(by_device)
    }

    /// Reaps what has completed, wakes those who wait for it and posts what waited for room; `true` if anything had.
    /// Never blocks.
    pub fn poll(&self) -> bool {
        // Waking may poll again, from a foreign executor: the inner call has a short list of its own.
        let mut completions = self.0.completions.take();
        if completions.is_empty() {
            completions.resize(8, Wc::default());
        }
        let mut to_wake = self.0.to_wake.take();
        let mut has_happened = false;
        loop {
            let count = match self.0.queue.poll(&mut completions) {
                Ok(count) => count,
                Err(error) => {
                    self.fail_all(&error, &mut to_wake);
                    0
                }
            };
            has_happened |= count > 0;
            self.reap(&completions[..count], &mut to_wake);
            if count < completions.len() {
                break;
            }
        }
        for waker in to_wake.drain(..) {
            waker.wake();
        }
        self.0.to_wake.set(to_wake);
        self.0.completions.set(completions);
        has_happened
    }

    fn reap(&self, completions: &[Wc], to_wake: &mut Vec<Waker>) {
        let mut completions = completions.iter().peekable();
        while let Some(wc) = completions.next() {
            let (id, number) = LinkId::of_request(wc.id());
            let Some(core) = self.core(id) else { continue };
            core.reap(wc.status(), number, to_wake);
            // Once for a run of completions of one link: what waits goes out with one doorbell.
            if completions.peek().is_none_or(|next| LinkId::of_request(next.id()).0 != id) {
                core.post_waiting(to_wake);
            }
        }
    }

    #[cold]
    fn fail_all(&self, error: &CallError, to_wake: &mut Vec<Waker>) {
        let live: Vec<Rc<Core>> = self.0.links.borrow().iter().filter_map(|slot| slot.core.clone()).collect();
        let code = error.source.raw_os_error().unwrap_or(0);
        for core in live {
            if core.fail(Why::Provider(code), to_wake) {
                tracing::error!(%error, "the completion queue is broken: its links are lost");
            }
        }
    }

    /// Sleeps until something completes, [`Engine::waker`] is called, or `at_most` has passed. Returns early
    /// rather than late; poll afterwards.
    pub fn idle(&self, at_most: Duration) {
        // Take the events, arm, look once more, sleep: in this order no completion is slept through.
        let armed = self.take_events().and_then(|()| self.0.queue.request_notification());
        if let Err(error) = armed {
            // Polling fails as well, and says so to the links. Meanwhile, do not spin on it.
            tracing::debug!(%error, "cannot sleep on the completion channel");
            std::thread::sleep(at_most.min(Duration::from_millis(1)));
            return;
        }
        if self.poll() {
            return;
        }
        self.0.alarm.sleep_unless_called(|| {
            let timeout = Timespec {
                tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: at_most.subsec_nanos().into(),
            };
            let mut fds = [
                PollFd::from_borrowed_fd(self.0.channel.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.0.alarm.as_fd(), PollFlags::IN),
            ];
            // A signal ends the sleep early, which is allowed.
            let _ = poll(&mut fds, Some(&timeout));
        });
    }

    fn take_events(&self) -> Result<(), CallError> {
        while self.0.channel.take_event()?.is_some() {}
        Ok(())
    }

    /// Ends a sleep in [`Engine::idle`], from any thread.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0.alarm))
    }

    /// Links there are.
    pub fn links(&self) -> usize {
        self.0.links.borrow().iter().filter(|slot| slot.core.is_some()).count()
    }

    pub(crate) fn queue(&self) -> &Arc<CompletionQueue> {
        &self.0.queue
    }

    /// Scatter entries of a work request.
    pub(crate) fn entries(&self) -> usize {
        let limits = self.0.port.limits();
        // Some devices take fewer in a READ, and say 0 where they mean the same as for the rest.
        let of_read = if limits.max_sge_rd == 0 { limits.max_sge } else { limits.max_sge_rd };
        MAX_SEGMENTS.min(limits.max_sge as usize).min(of_read as usize).max(1)
    }

    pub(crate) fn check_room(&self) -> Result<(), ConnectError> {
        let links = self.0.links.borrow();
        let has_room = links.iter().any(|slot| slot.core.is_none());
        has_room.then_some(()).ok_or(ConnectError::TooManyLinks { max: links.len() as u32 })
    }

    pub(crate) fn add(&self, make: impl FnOnce(LinkId, Shared) -> Core) -> Result<VerbsLink, ConnectError> {
        self.check_room()?;
        let mut links = self.0.links.borrow_mut();
        let slot = links.iter().position(|slot| slot.core.is_none()).expect("there is room");
        let generation = links[slot].generation;
        let slot_number = u16::try_from(slot).expect("at most as many slots");
        let core = Rc::new(make(LinkId { slot: slot_number, generation }, self.0.shared.clone()));
        links[slot].core = Some(Rc::clone(&core));
        Ok(VerbsLink::new(core, self.clone()))
    }

    /// Forgets a link. Its queue pair is gone; completions that it left behind belong to nobody.
    pub(crate) fn remove(&self, id: LinkId) {
        let mut links = self.0.links.borrow_mut();
        let slot = &mut links[id.slot as usize];
        assert!(slot.generation == id.generation, "a link is removed once");
        slot.generation = slot.generation.wrapping_add(1);
        slot.core = None;
    }

    fn core(&self, id: LinkId) -> Option<Rc<Core>> {
        let links = self.0.links.borrow();
        let slot = links.get(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.core.clone()
    }
}

impl LinkId {
    /// The id of work request `number` of this link.
    pub(crate) fn request(self, number: u32) -> u64 {
        u64::from(self.slot) << 48 | u64::from(self.generation) << 32 | u64::from(number)
    }

    fn of_request(id: u64) -> (LinkId, u32) {
        (LinkId { slot: (id >> 48) as u16, generation: (id >> 32) as u16 }, id as u32)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({}, {} links)", self.0.port.candidate(), self.links())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_link_and_request() {
        for (slot, generation, number) in [(0, 0, 0), (1, 2, 3), (u16::MAX, 0, u32::MAX), (0, u16::MAX, 1)] {
            let id = LinkId { slot, generation };
            assert_eq!(LinkId::of_request(id.request(number)), (id, number));
        }
    }
}
