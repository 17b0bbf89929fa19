//! The one source of every decision in a run.

use crate::{Done, Lane};
use std::cell::RefCell;
use std::rc::Rc;

/// What a decision is about. An explorer branches on some of them and takes the first alternative of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Which event happens next.
    Next,
    /// How a transfer is cut, and which piece of it comes next.
    Piece,
    /// How long something takes.
    Latency,
    /// How much of what was posted still executes after a fault, and how it is answered.
    Fault,
    /// A client's own random number.
    Random,
    /// What the test itself draws: its scenario.
    Scenario,
}

/// Answers every question of a run. Two runs with equal answers are equal.
pub trait Choices {
    /// A number below `count`, which is at least 1.
    fn below(&mut self, count: u64, point: Point) -> u64;

    /// Which of these steps happens next, under [`Pace::Chosen`](crate::Pace::Chosen); they are in order and at least
    /// one. `None` gives the run up: the world stands still from then on.
    fn step(&mut self, enabled: &[Lane]) -> Option<usize> {
        let count = enabled.len() as u64;
        Some(if count == 1 { 0 } else { self.below(count, Point::Next) as usize })
    }

    /// The step that was chosen has been taken.
    fn done(&mut self, _: &Done<'_>) {}

    /// From here on the order is what the run is about, or no longer is.
    fn search(&mut self, _is_on: bool) {}
}

/// Choices drawn from a seed (SplitMix64), the same on every machine and in every release.
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// The choices of this seed.
    pub fn new(seed: u64) -> Seed {
        Seed(seed)
    }
}

impl Choices for Seed {
    fn below(&mut self, count: u64, _: Point) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The bias of at most count / 2^64 is of no consequence; a loop would make draws uneven in number.
        ((u128::from(z ^ (z >> 31)) * u128::from(count)) >> 64) as u64
    }
}

/// Writes down what other choices answer, for [`Replay`].
#[derive(Debug)]
pub struct Recording<C> {
    inner: C,
    list: Rc<RefCell<Vec<u64>>>,
}

impl<C: Choices> Recording<C> {
    /// Records `inner`; the list grows as the run goes on, and can be read after a panic too.
    pub fn new(inner: C) -> (Recording<C>, Rc<RefCell<Vec<u64>>>) {
        let list = Rc::default();
        (Recording { inner, list: Rc::clone(&list) }, list)
    }
}

impl<C: Choices> Choices for Recording<C> {
    fn below(&mut self, count: u64, point: Point) -> u64 {
        let chosen = self.inner.below(count, point);
        self.list.borrow_mut().push(chosen);
        chosen
    }
}

/// Answers from a list, and with 0 when it is used up; so a list can be cut and changed, and is still a run.
#[derive(Clone, Debug)]
pub struct Replay {
    list: Vec<u64>,
    next: usize,
}

impl Replay {
    /// The choices of `list`.
    pub fn new(list: Vec<u64>) -> Replay {
        Replay { list, next: 0 }
    }
}

impl Choices for Replay {
    fn below(&mut self, count: u64, _: Point) -> u64 {
        let chosen = self.list.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        chosen.min(count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_gives_what_was_recorded_and_then_zeros() {
        let (mut recording, list) = Recording::new(Seed::new(7));
        let drawn: Vec<_> = (1..100).map(|n| recording.below(n, Point::Next)).collect();
        let mut replay = Replay::new(list.borrow().clone());
        assert!((1..100).map(|n| replay.below(n, Point::Next)).eq(drawn));
        assert_eq!(replay.below(9, Point::Next), 0);
    }

    #[test]
    fn a_seed_draws_below_the_bound_and_reaches_all_of_it() {
        let mut seed = Seed::new(1);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[seed.below(5, Point::Next) as usize] += 1;
        }
        assert!(seen.iter().all(|n| *n > 100), "{seen:?}");
        assert_eq!(Seed::new(3).below(u64::MAX, Point::Next), Seed::new(3).below(u64::MAX, Point::Random));
    }
}
