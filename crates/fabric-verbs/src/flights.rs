//! The chains of one link on their way, and how full its send queue is. Knows nothing of devices.
//!
//! ```text
//!   post ──► waiting ──► posted ──► retired, in order; its answer waits for the future
//!             (no room,    │
//!              or corked)  └► failed: all of them at once
//! ```
//!
//! # Holding fences
//!
//! Soft-RoCE (rxe, at least from Linux 5.18 to 6.12) must not be given the fence flag. It lets a fenced request wait until no READ or atomic
//! is on its way; but when it sends requests again, those that were on their way still count, and a fenced request
//! among them waits for itself, for ever, without a timeout. So for such a device a chain is parted before each
//! fenced request, and the part is posted when all that was posted before has completed.

use std::collections::VecDeque;
use std::ops::Range;
use std::task::Waker;

use farrow_fabric::{Answers, VerbError};

use crate::plan::{Plan, Request};

/// All chains of a link, by the order in which they were posted.
#[derive(Debug)]
pub(crate) struct Flights {
    flights: Vec<Flight>,
    free: Vec<u32>,
    waiting: VecDeque<u32>,
    posted: VecDeque<u32>,
    /// Numbers of work requests: of the next to be planned, of the next to be posted, of the oldest not known to have
    /// succeeded. They wrap; at most `depth` lie between the last two.
    next: u32,
    launched: u32,
    done: u32,
    depth: u32,
    holds_fences: bool,
}

/// Work requests to be posted: a chain, or a part of it.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) plan: &'a Plan,
    /// Which of the plan's requests.
    pub(crate) requests: Range<usize>,
    /// The number of the first of them.
    pub(crate) number: u32,
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
    /// For a send queue of `depth` work requests. `holds_fences`: the device is not to be given the flag.
    pub(crate) fn new(depth: u32, holds_fences: bool) -> Flights {
        Flights {
            flights: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            posted: VecDeque::new(),
            next: 0,
            launched: 0,
            done: 0,
            depth,
            holds_fences,
        }
    }

    /// Adds a chain to those that wait. `fill` plans it, and is told the number that its first work request will have.
    pub(crate) fn add<E>(&mut self, fill: impl FnOnce(&mut Plan, u32) -> Result<(), E>) -> Result<u32, E> {
        let id = self.free.pop().unwrap_or_else(|| {
            self.flights.push(Flight::default());
            u32::try_from(self.flights.len() - 1).expect("fewer chains in flight than 4 thousand million")
        });
        let flight = &mut self.flights[id as usize];
        (flight.answer, flight.waker, flight.is_abandoned) = (None, None, false);
        match fill(&mut flight.plan, self.next) {
            Ok(()) => {
                flight.first = self.next;
                flight.end = self.next.wrapping_add(flight.plan.requests.len() as u32);
                self.next = flight.end;
                self.waiting.push_back(id);
                Ok(id)
            }
            Err(error) => {
                self.free.push(id);
                Err(error)
            }
        }
    }

    /// What of the chain that waits longest can be posted now: nothing, if the send queue has no room for all of it or a
    /// fence holds it back; a part, if a fence will.
    pub(crate) fn launch(&mut self) -> Option<Launch<'_>> {
        let id = *self.waiting.front()?;
        let flight = &self.flights[id as usize];
        let requests = &flight.plan.requests;
        let sent = self.launched.wrapping_sub(flight.first) as usize;
        let is_held = self.holds_fences && requests.get(sent).is_some_and(|request| request.fence);
        if flight.end.wrapping_sub(self.done) > self.depth || (is_held && self.launched != self.done) {
            return None;
        }
        let is_next_part = |request: &Request| self.holds_fences && request.fence;
        let rest = requests.iter().skip(sent + 1).position(is_next_part);
        let end = rest.map_or(requests.len(), |rest| sent + 1 + rest);
        if sent == 0 {
            self.posted.push_back(id);
        }
        if end == requests.len() {
            self.waiting.pop_front();
        }
        let number = self.launched;
        self.launched = flight.first.wrapping_add(end as u32);
        Some(Launch { plan: &flight.plan, requests: sent..end, number })
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
        answers: impl FnMut(u32, &Plan) -> Answers,
        wake: &mut Vec<Waker>,
    ) {
        self.done = number.wrapping_add(1);
        self.retire_done(answers, wake);
    }

    /// Chains without work requests retire with the chain before them, which may have retired already.
    pub(crate) fn retire_empty(&mut self, wake: &mut Vec<Waker>) {
        self.retire_done(|_, _| Answers::new(), wake);
    }

    fn retire_done(&mut self, mut answers: impl FnMut(u32, &Plan) -> Answers, wake: &mut Vec<Waker>) {
        while let Some(&id) = self.posted.front() {
            let flight = &self.flights[id as usize];
            // Numbers wrap; those in use lie within half of the circle.
            if (self.done.wrapping_sub(flight.end) as i32) < 0 {
                return;
            }
            self.posted.pop_front();
            let answers = answers(flight.first, &flight.plan);
            self.settle(id, Ok(answers), wake);
        }
    }

    /// The link is broken, and its queue pair destroyed: all chains end, and let go of their buffers.
    pub(crate) fn fail(&mut self, failure: &Failure, wake: &mut Vec<Waker>) {
        // A chain that was posted in part is among both.
        if self.waiting.front().is_some_and(|id| self.posted.back() == Some(id)) {
            self.waiting.pop_front();
        }
        let mut error = failure.oldest;
        for id in std::mem::take(&mut self.posted) {
            self.settle(id, Err(error), wake);
            error = failure.later;
        }
        for id in std::mem::take(&mut self.waiting) {
            self.settle(id, Err(failure.waiting), wake);
        }
        (self.launched, self.done) = (self.next, self.next);
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
    use crate::plan::Kind;
    use farrow_fabric::Why;
    use farrow_layout::NodeId;

    fn add(flights: &mut Flights, requests: usize) -> u32 {
        add_fenced(flights, &vec![false; requests])
    }

    fn add_fenced(flights: &mut Flights, fences: &[bool]) -> u32 {
        let request = |&fence: &bool| Request { kind: Kind::FetchAdd { add: 1 }, address: 0, key: 0, fence };
        let fill = |plan: &mut Plan, _| -> Result<(), ()> {
            plan.clear();
            plan.requests.extend(fences.iter().map(request));
            Ok(())
        };
        flights.add(fill).expect("filled")
    }

    /// First numbers and counts.
    fn launch_parts(flights: &mut Flights) -> Vec<(u32, usize)> {
        std::iter::from_fn(|| flights.launch().map(|l| (l.number, l.requests.len()))).collect()
    }

    fn launch_all(flights: &mut Flights) -> Vec<u32> {
        launch_parts(flights).into_iter().map(|(number, _)| number).collect()
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
        let mut flights = Flights::new(4, false);
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
        assert_eq!((flights.posted(), flights.done), (0, 6));
    }

    #[test]
    fn numbers_wrap() {
        let mut flights = Flights::new(4, false);
        (flights.next, flights.launched, flights.done) = (u32::MAX - 1, u32::MAX - 1, u32::MAX - 1);
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
        let mut flights = Flights::new(4, false);
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
    fn a_held_fence_parts_a_chain_and_holds_the_next_one_back() {
        let mut flights = Flights::new(8, true);
        let ids = [&[false, false, true, true][..], &[true, false], &[false]]
            .map(|fences| add_fenced(&mut flights, fences));
        assert_eq!(launch_parts(&mut flights), [(0, 2)]);
        retire(&mut flights, 0);
        assert_eq!(launch_parts(&mut flights), [], "one of the two is on its way");
        retire(&mut flights, 1);
        assert_eq!(launch_parts(&mut flights), [(2, 1)]);
        retire(&mut flights, 2);
        assert_eq!(launch_parts(&mut flights), [(3, 1)]);
        assert_eq!((take(&mut flights, ids[0]), flights.posted()), (None, 1));
        retire(&mut flights, 3);
        assert_eq!(take(&mut flights, ids[0]), Some(vec![0, 1, 2, 3]));
        assert_eq!(launch_parts(&mut flights), [(4, 2), (6, 1)]);
        retire(&mut flights, 6);
        assert_eq!(take(&mut flights, ids[1]), Some(vec![4, 5]));
        assert_eq!(take(&mut flights, ids[2]), Some(vec![6]));
    }

    #[test]
    fn a_chain_that_was_posted_in_part_fails_once() {
        let mut flights = Flights::new(8, true);
        let ids = [&[false, true][..], &[false]].map(|fences| add_fenced(&mut flights, fences));
        assert_eq!(launch_parts(&mut flights), [(0, 1)]);
        let error = |why| VerbError::maybe(NodeId(1), why);
        let failure = Failure {
            oldest: error(Why::PeerLost),
            later: error(Why::Fenced),
            waiting: error(Why::LinkDown),
        };
        flights.fail(&failure, &mut Vec::new());
        let ends = ids.map(|id| flights.take(id).expect("ended").expect_err("failed"));
        assert_eq!(ends, [failure.oldest, failure.waiting]);
        assert_eq!(flights.free.len(), 2);
    }

    #[test]
    fn places_are_used_again_whether_the_answer_was_wanted_or_not() {
        let mut flights = Flights::new(4, false);
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
        let mut flights = Flights::new(2, false);
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
