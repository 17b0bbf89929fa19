//! How a world behaves, apart from its choices.

use crate::CostModel;

/// What a world does with time, transfers and traces.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How transfers of several words are cut.
    pub grain: Grain,
    /// What decides on the next event.
    pub pace: Pace,
    /// Keep the lines of the trace, not just its hash. Costs time and memory.
    pub record: bool,
}

/// How transfers of several words are cut into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Not at all.
    Whole,
    /// Into up to four pieces, in any order.
    Pieces,
    /// Into words, in any order.
    Words,
}

/// What decides on the next event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Any event that is possible, each as likely as the others. Time is the count of events; a timer may go off at any
    /// moment, and takes the clock with it.
    Even,
    /// As `Even`, but each link and task has a speed of its own that changes now and then: some nearly stand still.
    Skewed,
    /// Any event that is possible, as the choices say who are told what each of them is: for an explorer, and for runs that
    /// it has found. Time stands still, and a timer may go off at any moment.
    Chosen,
    /// The one that is due first.
    Timed(CostModel),
}

impl Default for Options {
    fn default() -> Self {
        Options { grain: Grain::Pieces, pace: Pace::Even, record: false }
    }
}
