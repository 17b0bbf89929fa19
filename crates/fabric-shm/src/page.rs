//! The control page: named access to the words that daemon and clients share.

use crate::host::ShmGrant;
use farrow_fabric::{Mapping, Why, boot_time_ns};
use farrow_layout::{OWNER_DIED, ShmControl, ShmLink};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The most links that a page may claim to have: 64 MiB of page.
pub(crate) const MAX_LINKS: u32 = 1 << 20;

/// A mapped control page with `links` links.
#[derive(Debug)]
pub(crate) struct ControlPage {
    mapping: Mapping,
    links: u32,
}

/// The word that `busy` and `grant` of a link form.
pub(crate) struct Turn;

impl Turn {
    pub(crate) fn idle(grant: u32) -> u64 {
        (grant as u64) << 32
    }

    pub(crate) fn busy(grant: u32) -> u64 {
        Turn::idle(grant) | 1
    }
}

impl ControlPage {
    /// Bytes of a page with `links` links.
    pub(crate) fn len_for(links: u32) -> usize {
        size_of::<ShmControl>() + links as usize * size_of::<ShmLink>()
    }

    /// # Panics
    /// If the mapping is too short: whoever maps checks.
    pub(crate) fn new(mapping: Mapping, links: u32) -> ControlPage {
        assert!(links <= MAX_LINKS, "{links} links");
        assert!(mapping.len() >= ControlPage::len_for(links), "the page has room for its links");
        ControlPage { mapping, links }
    }

    /// Writes a page that nobody else can see yet. All links are unused; nobody owns it.
    pub(crate) fn format(&self, memory_len: u64) {
        let control = &self.mapping;
        control.word(offset_of!(ShmControl, magic)).store(ShmControl::MAGIC, Ordering::Relaxed);
        control.half(offset_of!(ShmControl, version)).store(ShmControl::VERSION, Ordering::Relaxed);
        control.half(offset_of!(ShmControl, links)).store(self.links, Ordering::Relaxed);
        control.word(offset_of!(ShmControl, memory_len)).store(memory_len, Ordering::Relaxed);
        self.lease().store(ShmControl::NO_LEASE, Ordering::Relaxed);
        for link in 0..self.links {
            self.epoch(link).store(ShmLink::UNUSED, Ordering::SeqCst);
        }
    }

    pub(crate) fn links(&self) -> u32 {
        self.links
    }

    pub(crate) fn owner(&self) -> &AtomicU32 {
        self.mapping.half(offset_of!(ShmControl, owner))
    }

    pub(crate) fn lease(&self) -> &AtomicU64 {
        self.mapping.word(offset_of!(ShmControl, lease_until_ns))
    }

    pub(crate) fn epoch(&self, link: u32) -> &AtomicU64 {
        self.mapping.word(self.link_at(link) + offset_of!(ShmLink, epoch))
    }

    pub(crate) fn turn(&self, link: u32) -> &AtomicU64 {
        const { assert!(offset_of!(ShmLink, grant) == offset_of!(ShmLink, busy) + 4) };
        self.mapping.word(self.link_at(link) + offset_of!(ShmLink, busy))
    }

    fn link_at(&self, link: u32) -> usize {
        assert!(link < self.links, "link {link} of {}", self.links);
        ControlPage::len_for(link)
    }

    /// Whether what is done under `grant` counts now: the node lives, has not moved on, and its lease runs.
    pub(crate) fn standing(&self, grant: &ShmGrant) -> Result<(), Why> {
        if !is_alive(self.owner().load(Ordering::Acquire)) {
            return Err(Why::PeerLost);
        }
        if self.epoch(grant.link).load(Ordering::SeqCst) != grant.epoch {
            return Err(Why::Fenced);
        }
        let until = self.lease().load(Ordering::Acquire);
        if until != ShmControl::NO_LEASE && boot_time_ns() >= until {
            return Err(Why::LeaseExpired);
        }
        Ok(())
    }
}

pub(crate) fn is_alive(owner: u32) -> bool {
    owner != 0 && owner & OWNER_DIED == 0
}
