//! Every schedule of a small run: a depth-first search over what the choices can answer, by running again and again.
//!
//! The search keeps no states, only the choices that led to where it is; to try another one it runs the world from the
//! start. So it needs nothing of the code it runs but that equal choices give equal runs.
//!
//! Most schedules differ only in the order of steps that do not touch each other. [`Reduction::Source`] runs one of each
//! class of such: *source sets* (Abdulla, Aronis, Jonsson, Sagonas: "Optimal dynamic partial order reduction", POPL'14)
//! say at which step of a run another one has to be tried first, namely where two dependent steps could have come the
//! other way round; *sleep sets* (Godefroid) keep a step that was tried from being tried again behind steps that it does
//! not depend on.
//!
//! **Why that is sound here.** Two steps are independent only if either order gives equal memories, clients, queues and
//! oracles ([`Footprint::depends_on`]); then each oracle says the same of all runs of a class. It has to hold for the
//! oracles too, and two of them look further than a client does:
//!
//! - The judge of histories sees which operation returned before which was called, so a poll in which one returned does
//!   not commute with another client's in which one was called. It cannot see more: times are only compared that way,
//!   and swapping two calls, or two returns, changes no such pair, though a counter that stamps them changes its stamps.
//! - Observers look at memory besides what was accessed, and say so ([`Observer::looked_at`](crate::Observer)); so does
//!   a client that is checked when it has its answer ([`World::looks_at`](crate::World)).
//!
//! A step must not take another one's turn away: no step is withdrawn when another happens (a timer that was cancelled,
//! a task that was stopped stay as steps that do nothing). The exception is a fault, which takes chains off their links;
//! so a fault depends on everything that it may take away from, and where one has happened all of that is tried as well.
//!
//! Timers may go off at any moment, so a client that waits for another by looking again and again has endless schedules.
//! [`Search::early_timers`] bounds how many go off in a run before their time, which is when nothing else is left to do;
//! an [`Explorer`] counts where that bound has kept it from looking.

mod bits;
mod tree;

use crate::{Choices, Done, Lane, Point};
use std::cell::RefCell;
use std::rc::Rc;
use tree::Tree;

/// Which schedules are left out since others show the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// None.
    None,
    /// Those that sleep sets rule out.
    Sleep,
    /// Those that source sets and sleep sets rule out.
    Source,
}

/// What to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Which schedules are left out.
    pub reduction: Reduction,
    /// At most so many times may the order deviate from the plain one, in which a client runs as far as it can; whoever
    /// is passed over stands back until all others wait (Emmi, Qadeer, Rakamaric: "Delay-bounded scheduling", POPL'11).
    /// A bound leaves nothing out but what is beyond it, so it goes with [`Reduction::None`] alone.
    pub delays: Option<usize>,
    /// Whether the cuts of transfers and the order of their pieces are searched too.
    pub pieces: bool,
    /// Whether it matters if a client that was told something goes on before it is told more. Not to clients that wait for
    /// all that they have posted, as `join_all` does: a poll in between takes what is there and waits on. That is a claim
    /// about the code that is run; with it, schedules that differ in such polls alone count as one.
    pub partial_polls: bool,
    /// Timers of a run that may go off while something else can happen.
    pub early_timers: usize,
}

impl Search {
    /// Every schedule, in classes.
    pub const ALL: Search = Search {
        reduction: Reduction::Source,
        delays: None,
        pieces: false,
        partial_polls: true,
        early_timers: usize::MAX,
    };

    /// Every schedule with at most so many delays.
    pub fn delayed(delays: usize) -> Search {
        Search { reduction: Reduction::None, delays: Some(delays), ..Search::ALL }
    }
}

/// What a search has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Schedules that ran to their end.
    pub schedules: u64,
    /// Runs given up midway: whatever they could still do, another run has done.
    pub pruned: u64,
    /// Steps taken, again and again, within the searched parts of all runs.
    pub steps: u64,
    /// Steps of the longest searched part.
    pub longest: usize,
    /// Places where a timer would have gone off early once more than it may.
    pub timers_held: u64,
}

/// A depth-first search. Each run takes its choices from [`Explorer::walk`]; [`Explorer::advance`] goes on to the next.
pub struct Explorer(Rc<RefCell<Tree>>);

/// The choices of one run of a search.
pub struct Walk(Rc<RefCell<Tree>>);

impl Explorer {
    /// A search that begins.
    ///
    /// # Panics
    /// When a bound of delays is to be combined with a reduction.
    pub fn new(search: Search) -> Explorer {
        let is_plain = search.reduction == Reduction::None;
        assert!(search.delays.is_none() || is_plain, "a bound and a reduction together leave schedules out");
        Explorer(Rc::new(RefCell::new(Tree::new(search))))
    }

    /// The choices of the next run, which must be made under [`Pace::Chosen`](crate::Pace::Chosen).
    pub fn walk(&self) -> Walk {
        self.0.borrow_mut().begin();
        Walk(self.0.clone())
    }

    /// Goes on to the next schedule once a run is over; `false` when there is none left.
    pub fn advance(&self) -> bool {
        self.0.borrow_mut().advance()
    }

    /// What it has come to so far.
    pub fn counts(&self) -> Counts {
        self.0.borrow().counts
    }

    /// The choices of the last run, for [`Replay`](crate::Replay).
    pub fn list(&self) -> Vec<u64> {
        self.0.borrow().list.clone()
    }
}

impl Choices for Walk {
    fn below(&mut self, count: u64, point: Point) -> u64 {
        self.0.borrow_mut().below(count, point)
    }

    fn step(&mut self, enabled: &[Lane]) -> Option<usize> {
        self.0.borrow_mut().step(enabled)
    }

    fn done(&mut self, done: &Done<'_>) {
        self.0.borrow_mut().done(done);
    }

    fn search(&mut self, is_on: bool) {
        self.0.borrow_mut().is_on = is_on;
    }
}
