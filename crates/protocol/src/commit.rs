//! The trait that replication protocols of one slot implement.

use crate::{Context, Failure, Staged};
use farrow_fabric::Fabric;
use farrow_layout::{Slot, SlotAddr, Word};

/// What goes with a change of a slot.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The entry's bytes, to every member, before its word.
    Entry(&'a Staged),
    /// The bytes are on every member; only the word that they replace is still to be written.
    Relink(&'a Staged),
    /// Nothing: the slot is emptied, or all is in place.
    Nothing,
}

/// A change of one slot on all replicas.
#[derive(Clone, Copy, Debug)]
pub struct Replace<'a> {
    /// The slot.
    pub slot: SlotAddr,
    /// The word that the primary must hold.
    pub expected: Word,
    /// The word that the backups should hold: the same, but for a tentative insert, which lies at the primary alone.
    pub expected_at_backups: Word,
    /// The word to put.
    pub to: Word,
    /// What goes before the word.
    pub place: Place<'a>,
}

impl<'a> Replace<'a> {
    /// `expected` to `to` in `slot`, everywhere.
    pub fn new(slot: SlotAddr, expected: Word, to: Word, place: Place<'a>) -> Replace<'a> {
        Replace { slot, expected, expected_at_backups: expected, to, place }
    }
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Every live replica holds the word, or a later one.
    Won,
    /// The primary held `now` instead: nothing of this change is visible, nor will be.
    Lost {
        /// What it held. Not necessarily on all replicas yet: settle it before drawing conclusions for the caller.
        now: Word,
    },
}

/// A replication protocol of one slot. `docs/protocols/` has one page for each.
#[allow(async_fn_in_trait)] // Single-threaded throughout: no bound is missing.
pub trait Commit: Copy + 'static {
    /// Its name in configuration and tables.
    const NAME: &'static str;

    /// Whether a slot says by itself that its word is on all replicas, so that it may be read while its home is closed.
    const READS_CLOSED: bool;

    /// Changes a slot on all replicas.
    ///
    /// # Errors
    /// [`Failure`] with [`farrow_fabric::Effect::Maybe`] once anything was posted: the outcome is unknown then.
    async fn replace<F: Fabric>(self, cx: &Context<'_, F>, change: &Replace<'_>)
    -> Result<Replaced, Failure>;

    /// Whether a slot as read at the primary must be settled before anything may be concluded from it.
    fn needs_settling(self, slot: &Slot) -> bool;

    /// Brings the primary's word to all replicas, and returns it: from then on it may be answered and built upon.
    /// `seen` is what was read; the word returned is that one, unless the slot has changed since: then it is the later
    /// word, which may need settling itself.
    ///
    /// # Errors
    /// [`Failure`] with [`farrow_fabric::Effect::None`]: settling changes nothing that is visible.
    async fn settle<F: Fabric>(
        self,
        cx: &Context<'_, F>,
        slot: SlotAddr,
        seen: Slot,
    ) -> Result<Word, Failure>;

    /// Behind the reply: notes at the primary that `word` is on all replicas.
    fn conclude<F: Fabric>(self, cx: &Context<'_, F>, slot: SlotAddr, word: Word, kind: Concluded);
}

/// What kind of change was concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concluded {
    /// One entry followed another.
    Update,
    /// A key was placed.
    Insert,
    /// A slot was emptied.
    Delete,
}
