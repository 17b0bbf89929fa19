//! The daemon's side: hands out links and takes them back for certain.

use crate::liveness::Liveness;
use crate::memory::sealed_file;
use crate::page::{ControlPage, MAX_LINKS, Turn};
use crate::process::Process;
use farrow_fabric::{Mapping, MappingError};
use farrow_layout::ShmLink as LinkRecord;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The control page of one daemon and the links on it. Thread-safe; dropping it fails every link.
#[derive(Debug)]
pub struct ShmHost {
    file: OwnedFd,
    page: Arc<ControlPage>,
    state: Mutex<State>,
    _liveness: Liveness,
}

/// The right to one link: what a client needs to make it, besides the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ShmGrant {
    /// Which link.
    pub link: u32,
    /// Told to nobody else; another with each grant of the link.
    pub key: u32,
    /// The epoch that the link belongs to.
    pub epoch: u64,
}

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Too many links.
    #[error("{asked} links asked for, but a control page has room for {MAX_LINKS}: ask for fewer")]
    TooManyLinks {
        /// The number asked for.
        asked: u32,
    },
    /// The page could not be mapped.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// The system refused.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

/// All links are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "all {links} shared-memory links of this node are in use: fewer client threads on this host, or more links for the node"
)]
pub struct NoLinkLeft {
    /// How many there are.
    pub links: u32,
}

/// How a link came to rest. Unless it is [`Revoked::StillBusy`], nothing posted on it will execute any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Its client was between chains, or ended its chain.
    Quiet,
    /// Its client's process had ended.
    ClientGone,
    /// Its client did not end its chain within the grace, and was killed.
    ClientKilled,
    /// Its client did not end its chain and could not be killed: move the node to fresh memory, or stop it.
    StillBusy {
        /// Why it was not killed.
        why: String,
    },
    /// The grant was not valid: released before, or never given.
    NotGranted,
}

/// How the links of the earlier epochs came to rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fenced {
    /// Links broken.
    pub links: usize,
    /// Of these, links whose client had ended.
    pub clients_gone: usize,
    /// Of these, links whose client was killed.
    pub clients_killed: usize,
}

/// Why a fence did not come to its end. Links are broken all the same; it can be called again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// A fence leads to a later epoch.
    #[error("a fence to epoch {asked}, but the links are of epoch {present}: epochs only grow")]
    NotLater {
        /// The epoch asked for.
        asked: u64,
        /// The epoch now.
        present: u64,
    },
    /// Some clients may still write.
    #[error("{} clients may still write ({why}): move the node to fresh memory, or stop it", .links.len())]
    StillBusy {
        /// Their links.
        links: Vec<u32>,
        /// Why the first was not killed.
        why: String,
    },
}

#[derive(Debug)]
struct State {
    epoch: u64,
    grace: Duration,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    /// The grant that is valid, or will be.
    key: u32,
    holder: Holder,
}

#[derive(Debug)]
enum Holder {
    Nobody,
    Client(Option<Process>),
    /// Fenced and at rest, but its client has not yet let go of it.
    Fenced,
}

/// A chain takes microseconds; a client that was merely descheduled ends it well within this.
const GRACE: Duration = Duration::from_secs(1);
/// How long a killed process may take to end: it may have much memory to give back.
const DEATH: Duration = Duration::from_secs(10);
/// Between two looks at a busy flag.
const PAUSE: Duration = Duration::from_micros(20);

impl ShmHost {
    /// Makes a control page for `max_links` links to a memory of `memory_len` bytes, and becomes its owner.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(memory_len: u64, max_links: u32, epoch: u64) -> Result<ShmHost, StartError> {
        if max_links > MAX_LINKS {
            return Err(StartError::TooManyLinks { asked: max_links });
        }
        assert!(epoch != LinkRecord::UNUSED, "epoch {epoch} means unused");
        let len = ControlPage::len_for(max_links);
        let file = sealed_file("farrow-control", len as u64, MemfdFlags::empty())
            .map_err(|e| StartError::System { what: "create the control page", source: e.into() })?;
        let page = Arc::new(ControlPage::new(Mapping::shared(&file, len)?, max_links));
        page.format(memory_len);
        let random = RandomState::new();
        let slots =
            (0..max_links).map(|link| Slot { key: random.hash_one(link) as u32, holder: Holder::Nobody });
        let slots: Vec<Slot> = slots.collect();
        for (slot, link) in slots.iter().zip(0..) {
            page.turn(link).store(Turn::idle(slot.key), Ordering::SeqCst);
        }
        let liveness = Liveness::start(page.clone()).map_err(|source| StartError::System {
            what: "start the thread that stands for our life",
            source,
        })?;
        let state = Mutex::new(State { epoch, grace: GRACE, slots });
        Ok(ShmHost { file, page, state, _liveness: liveness })
    }

    /// The control page's descriptor, to pass to clients.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// How long a client may stay inside of a chain after its link was broken, before it is killed. 1 s unless set.
    pub fn set_grace(&self, grace: Duration) {
        self.state().grace = grace;
    }

    /// Until when links may be used, in nanoseconds of CLOCK_BOOTTIME; [`farrow_layout::ShmControl::NO_LEASE`] for ever.
    ///
    /// A client that finds it passed gives its link up, so renew it well before.
    pub fn set_lease(&self, until_ns: u64) {
        self.page.lease().store(until_ns, Ordering::SeqCst);
    }

    /// Hands out a link of the present epoch. `client` is the pidfd of the process that gets it ([`crate::peer_process`]);
    /// without it a client that sleeps or dies inside of a chain makes the next fence fail.
    ///
    /// # Errors
    /// All links are in use.
    pub fn grant(&self, client: Option<OwnedFd>) -> Result<ShmGrant, NoLinkLeft> {
        let mut state = self.state();
        let epoch = state.epoch;
        let free = state.slots.iter_mut().zip(0..).find(|(slot, _)| matches!(slot.holder, Holder::Nobody));
        let (slot, link) = free.ok_or(NoLinkLeft { links: self.page.links() })?;
        slot.holder = Holder::Client(client.map(Process::new));
        self.page.turn(link).store(Turn::idle(slot.key), Ordering::SeqCst);
        self.page.epoch(link).store(epoch, Ordering::SeqCst);
        Ok(ShmGrant { link, key: slot.key, epoch })
    }

    /// Breaks one link, and waits until it is at rest. The link stays its client's until [`ShmHost::release`].
    pub fn revoke(&self, grant: &ShmGrant) -> Revoked {
        let mut state = self.state();
        let deadline = Instant::now() + state.grace;
        let Some(slot) = state.slot_of(grant) else {
            return Revoked::NotGranted;
        };
        self.page.epoch(grant.link).store(LinkRecord::UNUSED, Ordering::SeqCst);
        self.close(grant.link, slot, deadline)
    }

    /// Takes a link back: its client has ended or needs it no more. Once it is at rest it can be granted again.
    pub fn release(&self, grant: &ShmGrant) -> Revoked {
        let outcome = match self.revoke(grant) {
            Revoked::NotGranted => return Revoked::NotGranted,
            outcome => outcome,
        };
        if !matches!(outcome, Revoked::StillBusy { .. }) {
            let mut state = self.state();
            if let Some(slot) = state.slot_of(grant) {
                slot.holder = Holder::Nobody;
                slot.key = slot.key.wrapping_add(1);
            }
        }
        outcome
    }

    /// Breaks all links and makes `new_epoch` that of later grants. When it returns `Ok`, nothing that was posted on an
    /// earlier link will execute, and no answer of such a link will be accepted.
    ///
    /// Takes at most the grace and what it takes killed processes to end.
    ///
    /// # Errors
    /// [`FenceError`]. Unless the epoch was not a later one, links are broken and the epoch is the new one all the same.
    pub fn fence(&self, new_epoch: u64) -> Result<Fenced, FenceError> {
        let mut state = self.state();
        let is_again = new_epoch == state.epoch && state.has_earlier_links(&self.page);
        if new_epoch == LinkRecord::UNUSED || (new_epoch <= state.epoch && !is_again) {
            return Err(FenceError::NotLater { asked: new_epoch, present: state.epoch });
        }
        state.epoch = new_epoch;
        let deadline = Instant::now() + state.grace;
        let held = |slot: &Slot| matches!(slot.holder, Holder::Client(_));
        // All at once: clients come to rest in parallel, and one grace is enough for them.
        for (_, link) in state.slots.iter().zip(0..).filter(|(slot, _)| held(slot)) {
            self.page.epoch(link).store(LinkRecord::UNUSED, Ordering::SeqCst);
        }
        let mut fenced = Fenced::default();
        let (mut busy, mut first_why) = (Vec::new(), None);
        for (slot, link) in state.slots.iter_mut().zip(0..).filter(|(slot, _)| held(slot)) {
            fenced.links += 1;
            match self.close(link, slot, deadline) {
                Revoked::Quiet | Revoked::NotGranted => {}
                Revoked::ClientGone => fenced.clients_gone += 1,
                Revoked::ClientKilled => fenced.clients_killed += 1,
                Revoked::StillBusy { why } => {
                    busy.push(link);
                    first_why.get_or_insert(why);
                }
            }
        }
        match first_why {
            None => Ok(fenced),
            Some(why) => Err(FenceError::StillBusy { links: busy, why }),
        }
    }

    /// The epoch of later grants.
    pub fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Links that clients hold, broken ones included.
    pub fn links_held(&self) -> usize {
        self.state().slots.iter().filter(|slot| !matches!(slot.holder, Holder::Nobody)).count()
    }

    /// Waits for the end of the chain and makes the grant void, so that no other can begin.
    fn close(&self, link: u32, slot: &mut Slot, deadline: Instant) -> Revoked {
        let Holder::Client(client) = &slot.holder else {
            return Revoked::Quiet;
        };
        let outcome = self.quieten(link, slot.key, client.as_ref(), deadline);
        if !matches!(outcome, Revoked::StillBusy { .. }) {
            slot.holder = Holder::Fenced;
        }
        outcome
    }

    fn quieten(&self, link: u32, key: u32, client: Option<&Process>, deadline: Instant) -> Revoked {
        let turn = self.page.turn(link);
        let (idle, void) = (Turn::idle(key), Turn::idle(key.wrapping_add(1)));
        let try_close = || turn.compare_exchange(idle, void, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let close_for_the_dead = || turn.store(void, Ordering::SeqCst);
        loop {
            if try_close() {
                return Revoked::Quiet;
            }
            if client.is_some_and(Process::is_dead) {
                close_for_the_dead();
                return Revoked::ClientGone;
            }
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let still_busy = |why: String| Revoked::StillBusy { why };
        let Some(client) = client else {
            return still_busy(format!("the process that holds link {link} is not known"));
        };
        if let Err(error) = client.kill() {
            return still_busy(format!("the process that holds link {link} cannot be killed: {error}"));
        }
        if !client.is_dead_within(DEATH) {
            return still_busy(format!(
                "the process that holds link {link} was killed but has not ended after {DEATH:?}"
            ));
        }
        close_for_the_dead();
        Revoked::ClientKilled
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn slot_of(&mut self, grant: &ShmGrant) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(grant.link as usize)?;
        (slot.key == grant.key && !matches!(slot.holder, Holder::Nobody)).then_some(slot)
    }

    /// Whether a fence to the present epoch has left links behind.
    fn has_earlier_links(&self, page: &ControlPage) -> bool {
        let is_left = |(slot, link): (&Slot, u32)| {
            matches!(slot.holder, Holder::Client(_)) && page.epoch(link).load(Ordering::SeqCst) != self.epoch
        };
        self.slots.iter().zip(0..).any(is_left)
    }
}
