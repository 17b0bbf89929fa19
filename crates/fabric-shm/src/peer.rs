//! One node's memory, mapped into a client process.

use crate::host::ShmGrant;
use crate::link::ShmLink;
use crate::mapped::Lent;
use crate::page::{ControlPage, MAX_LINKS};
use farrow_fabric::{Corks, Mapping, MappingError, TotalsCell};
use farrow_layout::{NodeId, ShmControl};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use std::mem::offset_of;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The memory and the control page of one node. One per node and process; links of all threads share it.
#[derive(Debug)]
pub struct ShmPeer {
    pub(crate) memory: Lent,
    pub(crate) page: ControlPage,
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
        source: std::io::Error,
    },
}

impl ShmPeer {
    /// Maps what a node passed. Both descriptors may be closed afterwards.
    ///
    /// # Errors
    /// The node is not trusted to be well: whatever could make later access fail or die is refused here.
    pub fn map(memory: impl AsFd, control: impl AsFd) -> Result<Arc<ShmPeer>, PeerError> {
        let control_len = examine(control.as_fd(), "control page", Named::Refused)?;
        let memory_file_len = examine(memory.as_fd(), "memory", Named::Allowed)?;
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
        let memory = Lent::of(&memory, memory_len as usize)?;
        Ok(Arc::new(ShmPeer { memory, page: ControlPage::new(mapping, links) }))
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

/// The file's length, once it is known to stay.
///
/// A named file on tmpfs or hugetlbfs cannot be sealed; its owner is trusted not to cut it, as it is trusted not to
/// overwrite it.
fn examine(file: BorrowedFd<'_>, what: &'static str, named: Named) -> Result<u64, PeerError> {
    let system = |e: rustix::io::Errno| PeerError::System { what, source: e.into() };
    let stat = fstat(file).map_err(system)?;
    let sealed = fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
    let is_trusted = matches!(named, Named::Allowed) && stat.st_nlink > 0;
    if !sealed && !is_trusted {
        return Err(PeerError::Unsealed { what });
    }
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}
