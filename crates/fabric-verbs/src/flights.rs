//! The chains of one link on their way, and how full its send queue is. Knows nothing of devices.
//!
//! ```text
//!   post ──► waiting ──► posted ──► retired, in order; its answer waits for the future
//!             (no room,    │
//!              or corked)  └► failed: all of them at once
//! ```

use std::collections::VecDeque;
use std::task::Waker;

use farrow_fabric::{Answers, VerbError};

use crate::plan::Plan;

/// All chains of a link, by the order in which they were posted.
#[derive(Debug)]
pub(crate) struct Flights {
    flights: Vec<Flight>,
    free: Vec<u32>,
    waiting: VecDeque<u32>,
    posted: VecDeque<u32>,
    /// The number of the next work request; numbers wrap, and fewer than `depth` are in use.
    next_number: u32,
    used: u32,
    depth: u32,
}

#[derive(Debug, Default)]
struct Flight {
    plan: Plan,
    /// Of its first work request.
    first: u32,
    /// Of the work request after its last.
    end: u32,
    answer: Option<Result<Answers, VerbError>>,
    waker: Option<Waker>,
    is_abandoned: bool,
}

/// How the chains of a broken link end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    /// The oldest that was posted.
    pub(crate) oldest: VerbError,
    /// Those posted after it.
    pub(crate) later: VerbError,
    /// Those that never were.
    pub(crate) waiting: VerbError,
}

impl Flights {
    /// For a send queue of `depth` work requests.
    pub(crate) fn new(depth: u32) -> Flights {
        Flights {
            flights: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            posted: VecDeque::new(),
            next_number: 0,
            used: 0,
            depth,
        }
    }

    /// Adds a chain, which `fill` plans, to those that wait.
    pub(crate) fn add<E>(&mut self, fill: impl FnOnce(&mut Plan) -> Result<(), E>) -> Result<u32, E> {
        let id = self.free.pop().unwrap_or_else(|| {
            self.flights.push(Flight::default());
            u32::try_from(self.flights.len() - 1).expect("fewer chains in flight than 4 thousand million")
        });
        let flight = &mut self.flights[id as usize];
        (flight.answer, flight.waker, flight.is_abandoned) = (None, None, false);
        match fill(&mut flight.plan) {
            Ok(()) => {
                self.waiting.push_back(id);
                Ok(id)
            }
            Err(error) => {
                self.free.push(id);
                Err(error)
            }
        }
    }

    /// Moves the chain that waits longest to the posted ones, if the send queue has room for it, and returns the number
    /// of its first work request and its plan.
    pub(crate) fn launch(&mut self) -> Option<(u32, &Plan)> {
        let id = *self.waiting.front()?;
        let flight = &mut self.flights[id as usize];
        let count = flight.plan.requests.len() as u32;
        if self.used + count > self.depth {
            return None;
        }
        self.waiting.pop_front();
        self.posted.push_back(id);
        self.used += count;
        flight.first = self.next_number;
        self.next_number = self.next_number.wrapping_add(count);
        flight.end = self.next_number;
        Some((flight.first, &self.flights[id as usize].plan))
    }

    /// Whether a chain waits to be posted.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Chains that were posted and are not retired.
    pub(crate) fn posted(&self) -> usize {
        self.posted.len()
    }

    /// The oldest posted chain: its plan and the number of its first work request.
    pub(crate) fn oldest(&self) -> Option<(u32, &Plan)> {
        let flight = &self.flights[*self.posted.front()? as usize];
        Some((flight.first, &flight.plan))
    }

    /// Work request `number`, and with it all before it, has succeeded: the chains that end there have their answers.
    pub(crate) fn retire(
        &mut self,
        number: u32,
        mut answers: impl FnMut(u32, &Plan) -> Answers,
        wake: &mut Vec<Waker>,
    ) {
        let done = number.wrapping_add(1);
        while let Some(&id) = self.posted.front() {
            let flight = &self.flights[id as usize];
            // Numbers wrap; those in use lie within half of the circle.
            if done.wrapping_sub(flight.end) as i32 >= 0 {
                self.posted.pop_front();
                self.used -= flight.end.wrapping_sub(flight.first);
                let answers = answers(flight.first, &flight.plan);
                self.settle(id, Ok(answers), wake);
            } else {
                break;
            }
        }
    }

    /// As [`Flights::retire`] of the last work request before the oldest posted chain: chains without work requests
    /// retire with the chain before them.
    pub(crate) fn retire_empty(&mut self, wake: &mut Vec<Waker>) {
        if let Some((first, _)) = self.oldest() {
            self.retire(first.wrapping_sub(1), |_, _| Answers::new(), wake);
        }
    }

    /// The link is broken, and its queue pair destroyed: all chains end, and let go of their buffers.
    pub(crate) fn fail(&mut self, failure: &Failure, wake: &mut Vec<Waker>) {
        let mut error = failure.oldest;
        for id in std::mem::take(&mut self.posted) {
            self.settle(id, Err(error), wake);
            error = failure.later;
        }
        for id in std::mem::take(&mut self.waiting) {
            self.settle(id, Err(failure.waiting), wake);
        }
        self.used = 0;
    }

    fn settle(&mut self, id: u32, answer: Result<Answers, VerbError>, wake: &mut Vec<Waker>) {
        let flight = &mut self.flights[id as usize];
        flight.plan.clear();
        if flight.is_abandoned {
            self.free.push(id);
        } else {
            flight.answer = Some(answer);
            wake.extend(flight.waker.take());
        }
    }

    /// The answer of a chain, if it has one; the chain is forgotten then.
    pub(crate) fn take(&mut self, id: u32) -> Option<Result<Answers, VerbError>> {
        let answer = self.flights[id as usize].answer.take()?;
        self.free.push(id);
        Some(answer)
    }

    /// Remembers whom to wake when the chain has an answer, and returns whom to wake no more.
    #[must_use = "to be dropped when nothing is borrowed"]
    pub(crate) fn wait(&mut self, id: u32, waker: &Waker) -> Option<Waker> {
        let kept = &mut self.flights[id as usize].waker;
        if kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            return None;
        }
        kept.replace(waker.clone())
    }

    /// Nobody wants the answer any more. Returns whom to wake no more.
    #[must_use = "to be dropped when nothing is borrowed"]
    pub(crate) fn abandon(&mut self, id: u32) -> Option<Waker> {
        let flight = &mut self.flights[id as usize];
        if flight.answer.take().is_some() {
            self.free.push(id);
        } else {
            flight.is_abandoned = true;
        }
        flight.waker.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Kind, Request};
    use farrow_fabric::Why;
    use farrow_layout::NodeId;

    fn add(flights: &mut Flights, requests: usize) -> u32 {
        let request = Request { kind: Kind::FetchAdd { add: 1 }, address: 0, key: 0, fence: false };
        let fill = |plan: &mut Plan| -> Result<(), ()> {
            plan.clear();
            plan.requests.extend(std::iter::repeat_n(request, requests));
            Ok(())
        };
        flights.add(fill).expect("filled")
    }

    fn launch_all(flights: &mut Flights) -> Vec<u32> {
        std::iter::from_fn(|| flights.launch().map(|(first, _)| first)).collect()
    }

    fn retire(flights: &mut Flights, number: u32) {
        let answers = |first: u32, plan: &Plan| plan.answers(|index, _| u64::from(first) + index as u64);
        flights.retire(number, answers, &mut Vec::new());
    }

    fn take(flights: &mut Flights, id: u32) -> Option<Vec<u64>> {
        flights.take(id).map(|answer| answer.expect("succeeded").to_vec())
    }

    #[test]
    fn chains_wait_until_the_queue_has_room_for_all_of_them() {
        let mut flights = Flights::new(4);
        let ids = [3, 2, 1].map(|requests| add(&mut flights, requests));
        // The third would fit, but must not overtake.
        assert_eq!(launch_all(&mut flights), [0]);
        retire(&mut flights, 1);
        assert_eq!(take(&mut flights, ids[0]), None, "its last request is not done");
        retire(&mut flights, 2);
        assert_eq!(take(&mut flights, ids[0]), Some(vec![0, 1, 2]));
        assert_eq!(launch_all(&mut flights), [3, 5]);
        assert!(!flights.has_waiting());
        retire(&mut flights, 5);
        assert_eq!(take(&mut flights, ids[1]), Some(vec![3, 4]));
        assert_eq!(take(&mut flights, ids[2]), Some(vec![5]));
        assert_eq!((flights.posted(), flights.used), (0, 0));
    }

    #[test]
    fn numbers_wrap() {
        let mut flights = Flights::new(4);
        flights.next_number = u32::MAX - 1;
        let ids = [2, 2].map(|requests| add(&mut flights, requests));
        assert_eq!(launch_all(&mut flights), [u32::MAX - 1, 0]);
        retire(&mut flights, u32::MAX);
        assert!(take(&mut flights, ids[0]).is_some());
        assert_eq!(take(&mut flights, ids[1]), None);
        retire(&mut flights, 1);
        assert!(take(&mut flights, ids[1]).is_some());
    }

    #[test]
    fn a_chain_without_requests_ends_with_the_one_before_it() {
        let mut flights = Flights::new(4);
        let ids = [1, 0, 1].map(|requests| add(&mut flights, requests));
        launch_all(&mut flights);
        flights.retire_empty(&mut Vec::new());
        assert_eq!(take(&mut flights, ids[1]), None);
        retire(&mut flights, 0);
        assert_eq!(take(&mut flights, ids[1]), Some(vec![]));
        assert_eq!(take(&mut flights, ids[2]), None);
        retire(&mut flights, 1);
        assert!(take(&mut flights, ids[2]).is_some());
        let alone = add(&mut flights, 0);
        launch_all(&mut flights);
        flights.retire_empty(&mut Vec::new());
        assert_eq!(take(&mut flights, alone), Some(vec![]));
    }

    #[test]
    fn places_are_used_again_whether_the_answer_was_wanted_or_not() {
        let mut flights = Flights::new(4);
        for number in 0..100 {
            let id = add(&mut flights, 1);
            launch_all(&mut flights);
            match number % 3 {
                0 => {
                    assert!(flights.abandon(id).is_none());
                    retire(&mut flights, number);
                }
                1 => {
                    retire(&mut flights, number);
                    assert!(flights.abandon(id).is_none());
                }
                _ => {
                    retire(&mut flights, number);
                    assert!(take(&mut flights, id).is_some());
                }
            }
        }
        assert_eq!(flights.flights.len(), 1);
    }

    #[test]
    fn a_failure_ends_all_of_them() {
        let mut flights = Flights::new(2);
        let ids = [1, 1, 1].map(|requests| add(&mut flights, requests));
        launch_all(&mut flights);
        let node = NodeId(1);
        let failure = Failure {
            oldest: VerbError::maybe(node, Why::PeerLost),
            later: VerbError::maybe(node, Why::LinkDown),
            waiting: VerbError::refused(node, Why::LinkDown),
        };
        flights.fail(&failure, &mut Vec::new());
        let ends = ids.map(|id| flights.take(id).expect("ended").expect_err("failed"));
        assert_eq!(ends, [failure.oldest, failure.later, failure.waiting]);
        assert_eq!(flights.posted(), 0);
    }
}
