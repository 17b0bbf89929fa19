//! One node's memory, mapped into a client process.

use crate::host::ShmGrant;
use crate::link::ShmLink;
use crate::mapped::Lent;
use crate::page::{ControlPage, MAX_LINKS};
use farrow_fabric::{Corks, Mapping, MappingError, TotalsCell};
use farrow_layout::{NodeId, ShmControl};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{SealFlags, Stat, fcntl_get_seals, fstat};
use std::io;
use std::mem::offset_of;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of `stat`.
const BLOCK_LEN: u64 = 512;
/// A multiple of every page's size.
const PART: u64 = 2 << 20;

/// The memory and the control page of one node. One per node and process; links of all threads share it.
#[derive(Debug)]
pub struct ShmPeer {
    pub(crate) memory: Lent,
    pub(crate) page: ControlPage,
    /// Bytes of the memory that [`ShmPeer::bring_near`] has left.
    distant: AtomicU64,
}

/// Why what a node passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Not a control page.
    #[error(
        "the second file descriptor is no control page (it begins with {found:#018x}): is the peer a Farrow node of this host?"
    )]
    NoControlPage {
        /// Its first word.
        found: u64,
    },
    /// A control page of another format.
    #[error(
        "the node writes control pages of version {found}, this client reads {}: use one release for both",
        ShmControl::VERSION
    )]
    Version {
        /// The node's version.
        found: u32,
    },
    /// The page contradicts itself or the files that came with it.
    #[error(
        "the node's control page claims {what} of {claimed}, which cannot be (the file says {actual}): refuse this node"
    )]
    Contradiction {
        /// Which claim.
        what: &'static str,
        /// What the page says.
        claimed: u64,
        /// What is.
        actual: u64,
    },
    /// The file could be cut shorter under us, which would kill this process.
    #[error("the node's {what} is not sealed against shrinking: refuse this node")]
    Unsealed {
        /// `memory` or `control page`.
        what: &'static str,
    },
    /// It could not be mapped.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// The system refused to describe the file.
    #[error("cannot examine the node's {what}: {source}")]
    System {
        /// `memory` or `control page`.
        what: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

impl ShmPeer {
    /// Maps what a node passed. Both descriptors may be closed afterwards.
    ///
    /// # Errors
    /// The node is not trusted to be well: whatever could make later access fail or die is refused here.
    pub fn map(memory: impl AsFd, control: impl AsFd) -> Result<Arc<ShmPeer>, PeerError> {
        let control_len = len_of(&examine(control.as_fd(), "control page", Named::Refused)?);
        let memory_stat = examine(memory.as_fd(), "memory", Named::Allowed)?;
        let memory_file_len = len_of(&memory_stat);
        let contradiction = |what, claimed, actual| PeerError::Contradiction { what, claimed, actual };
        let head = size_of::<ShmControl>() as u64;
        if control_len < head {
            return Err(contradiction("a length", head, control_len));
        }
        let most = ControlPage::len_for(MAX_LINKS) as u64;
        let mapping = Mapping::shared(&control, control_len.min(most) as usize)?;
        let found = mapping.word(offset_of!(ShmControl, magic)).load(Ordering::Acquire);
        if found != ShmControl::MAGIC {
            return Err(PeerError::NoControlPage { found });
        }
        let found = mapping.half(offset_of!(ShmControl, version)).load(Ordering::Acquire);
        if found != ShmControl::VERSION {
            return Err(PeerError::Version { found });
        }
        let links = mapping.half(offset_of!(ShmControl, links)).load(Ordering::Acquire);
        if links > MAX_LINKS || ControlPage::len_for(links) > mapping.len() {
            let room = (mapping.len() as u64 - head) / 64;
            return Err(contradiction("a number of links", links as u64, room));
        }
        let memory_len = mapping.word(offset_of!(ShmControl, memory_len)).load(Ordering::Acquire);
        if memory_len == 0 || memory_len != memory_file_len {
            return Err(contradiction("a memory length", memory_len, memory_file_len));
        }
        // Pages that the node has not taken are not ours to take. (Huge ones are not counted, and need none of it.)
        let is_taken = u64::try_from(memory_stat.st_blocks).unwrap_or(0) >= memory_len / BLOCK_LEN;
        let distant = AtomicU64::new(if is_taken { memory_len } else { 0 });
        let memory = Lent::of(&memory, memory_len as usize)?;
        Ok(Arc::new(ShmPeer { memory, page: ControlPage::new(mapping, links), distant }))
    }

    /// Brings some more of the node's memory, about `bytes`, into the page tables of this process, as far as the node has taken its
    /// memory. Whoever touches a page first pays for that otherwise, and copies run at a quarter of the speed. Says whether there is
    /// more.
    ///
    /// # Errors
    /// The system's, once: the rest comes near as it is touched.
    pub fn bring_near(&self, bytes: u64) -> io::Result<bool> {
        let left = self.distant.load(Ordering::Relaxed);
        let next = left.saturating_sub(bytes.next_multiple_of(PART));
        if left == 0
            || self.distant.compare_exchange(left, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return Ok(left != 0);
        }
        let at = self.memory_len() - left;
        if let Err(error) = self.memory.populate(at as usize, (left - next) as usize) {
            self.distant.store(0, Ordering::Relaxed);
            return Err(error.into());
        }
        Ok(next != 0)
    }

    /// A link for the thread that calls. A grant that is not ours fails at the first post, with nothing executed.
    ///
    /// A grant makes one link: two links of one grant fail each other.
    pub fn link(
        self: &Arc<Self>,
        node: NodeId,
        grant: ShmGrant,
        totals: Rc<TotalsCell>,
        corks: Rc<Corks>,
    ) -> ShmLink {
        ShmLink::new(self.clone(), node, grant, totals, corks)
    }

    /// Bytes of the node's memory.
    pub fn memory_len(&self) -> u64 {
        self.memory.len() as u64
    }

    /// Whether the daemon that owns the memory is alive, as far as the kernel knows. It may be stopped.
    pub fn is_alive(&self) -> bool {
        crate::page::is_alive(self.page.owner().load(Ordering::Acquire))
    }
}

enum Named {
    Allowed,
    Refused,
}

/// What the file is, once its length is known to stay.
///
/// A named file on tmpfs or hugetlbfs cannot be sealed; its owner is trusted not to cut it, as it is trusted not to
/// overwrite it.
fn examine(file: BorrowedFd<'_>, what: &'static str, named: Named) -> Result<Stat, PeerError> {
    let system = |e: rustix::io::Errno| PeerError::System { what, source: e.into() };
    let stat = fstat(file).map_err(system)?;
    let sealed = fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
    let is_trusted = matches!(named, Named::Allowed) && stat.st_nlink > 0;
    if !sealed && !is_trusted {
        return Err(PeerError::Unsealed { what });
    }
    Ok(stat)
}

fn len_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
