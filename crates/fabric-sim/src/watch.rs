//! What the present step does, for choices that want to know.

use crate::{Done, Footprint, Lane, LaneKind, Mark, Touch};

/// Follows one step after another.
pub(crate) struct Watch {
    number: u64,
    footprint: Footprint,
    causes: Vec<u64>,
}

impl Default for Watch {
    fn default() -> Watch {
        let footprint = Footprint::new(Lane::new(LaneKind::Fault, 0, 0));
        Watch { number: 0, footprint, causes: Vec::new() }
    }
}

impl Watch {
    pub(crate) fn begin(&mut self, lane: Lane) {
        self.number += 1;
        self.footprint = Footprint::new(lane);
        self.causes.clear();
    }

    /// The number of the present step, or the last.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn causes(&mut self, steps: impl IntoIterator<Item = u64>) {
        self.causes.extend(steps);
    }

    pub(crate) fn touch(&mut self, touch: Touch) {
        self.footprint.touch(touch);
    }

    pub(crate) fn mark(&mut self, mark: Mark) {
        self.footprint.mark(mark);
    }

    pub(crate) fn done(&self) -> Done<'_> {
        Done { number: self.number, footprint: &self.footprint, causes: &self.causes }
    }
}
