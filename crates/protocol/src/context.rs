//! What one operation works with.

use crate::mutant::{self, Mutant};
use crate::{Event, Events, Failure, Home, ProtocolError};
use farrow_fabric::{Chain, Fabric, Link, Meter, Posted};
use farrow_layout::{KeyHash, Plan, SegmentPlan};

/// One operation's view of the world.
pub struct Context<'a, F: Fabric> {
    /// Buffers, time, randomness.
    pub fabric: &'a F,
    /// Counts what the operation costs.
    pub meter: &'a Meter,
    /// Counts what happened on the way.
    pub events: &'a Events,
    /// The key's home.
    pub home: &'a Home<F::Link>,
    /// The key's partition within the home's segments.
    pub partition: u32,
    /// The key.
    pub key: &'a [u8],
    /// Its hash.
    pub hash: KeyHash,
}

/// The answer of a posted chain, to be awaited.
pub(crate) type Answer<F> = Posted<<<F as Fabric>::Link as Link>::Completion>;

impl<F: Fabric> Clone for Context<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fabric> Copy for Context<'_, F> {}

impl<'a, F: Fabric> Context<'a, F> {
    /// The same operation in another view of its home.
    pub fn in_view(self, home: &'a Home<F::Link>) -> Context<'a, F> {
        Context { home, ..self }
    }

    /// Refuses, before anything is posted, what would change something in a closed home.
    pub(crate) fn check_open(&self) -> Result<(), Failure> {
        if self.home.is_open() || mutant::is(Mutant::ClosedIgnored) {
            return Ok(());
        }
        Err(Failure::harmless(ProtocolError::Closed))
    }

    pub(crate) fn plan(&self) -> &Plan {
        self.home.primary().segment.plan()
    }

    pub(crate) fn primary_segment(&self) -> &SegmentPlan {
        &self.home.primary().segment
    }

    /// Posts a chain to the primary.
    pub(crate) fn post_primary(&self, chain: Chain) -> Answer<F> {
        self.meter.post(&self.home.primary().link, chain)
    }

    /// Posts a chain to backup `index`.
    pub(crate) fn post_backup(&self, index: usize, chain: Chain) -> Answer<F> {
        self.meter.post(&self.home.backups()[index].link, chain)
    }

    pub(crate) fn note(&self, event: Event) {
        self.events.note(event);
        if event == Event::LostAtPrimary {
            self.meter.note_conflict();
        }
    }
}
