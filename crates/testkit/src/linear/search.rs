//! The search for an order of one key's operations.
//!
//! A configuration is the set of operations placed so far and the state they leave. From it, an operation may be
//! placed next if no unplaced operation returned before it was invoked. The events of unplaced operations hang in a
//! list in the order of time, so these are the calls before the first return in the list; placing an operation
//! takes its two events out, going back puts them in again.
//!
//! Three rules keep the search small, and none can lose an order:
//! - a configuration is never visited twice;
//! - an operation that can never change the state (a read, a refusal) and fits it now is placed at once, and nothing
//!   else is tried: any order that places it later is also right with it moved here. A write that happens to change
//!   nothing *here* is not of this kind, since it may be needed later, where it would;
//! - of unknown operations with the same rule, the one invoked first is used first, and one that would not change
//!   the state is not used.

use std::collections::{BTreeMap, HashSet};

use super::Limits;
use super::rule::{ABSENT, Names, Rule, State};
use crate::history::Operation;

/// What the search of one key has shown.
pub(super) enum Finding {
    Linearizable { configurations: usize },
    Stuck(Stuck),
    GaveUp { configurations: usize },
}

/// The longest order that was found where there is no complete one.
pub(super) struct Stuck {
    /// The operations placed, in order.
    pub(super) order: Vec<usize>,
    /// The operation whose return could not be passed.
    pub(super) blocked: usize,
}

/// Searches an order of the operations of one key. The indices in the finding are those of `operations`.
pub(super) fn search(operations: &[&Operation], limits: Limits) -> Finding {
    let calls = Calls::of(operations);
    Search::new(&calls, limits).run()
}

/// The operations that matter, as rules with times.
struct Calls {
    /// Those that must be placed.
    required: Vec<Required>,
    /// Those that may be placed, by their invocation.
    optional: Vec<Optional>,
}

struct Required {
    operation: usize,
    rule: Rule,
    invoked_ns: u64,
    returned_ns: u64,
}

struct Optional {
    operation: usize,
    rule: Rule,
    invoked_ns: u64,
    /// The one with the same rule that must be used before this one.
    after: Option<usize>,
}

impl Calls {
    fn of(operations: &[&Operation]) -> Self {
        let names = Names::of(operations);
        let mut required = Vec::new();
        let mut optional = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            let Some(rule) = names.rule(operation) else {
                continue;
            };
            let invoked_ns = operation.invoked_ns;
            match operation.outcome.returned_ns() {
                Some(returned_ns) => {
                    required.push(Required { operation: index, rule, invoked_ns, returned_ns })
                }
                None => optional.push(Optional { operation: index, rule, invoked_ns, after: None }),
            }
        }
        optional.sort_by_key(|call| call.invoked_ns);
        let mut last_of: BTreeMap<Rule, usize> = BTreeMap::new();
        for (index, call) in optional.iter_mut().enumerate() {
            call.after = last_of.insert(call.rule, index);
        }
        Self { required, optional }
    }
}

#[derive(Clone, Copy)]
enum Choice {
    Required(usize),
    Optional(usize),
}

/// Where to go on choosing in a configuration.
#[derive(Clone, Copy)]
enum Position {
    /// Nothing was tried yet.
    Fresh,
    /// Required calls from this node of the list on, then all optional ones.
    Required(usize),
    /// Optional calls from this one on.
    Optional(usize),
    /// Nothing is left to try.
    Exhausted,
}

struct Placed {
    choice: Choice,
    /// Where to go on after this choice was taken back.
    then: Position,
    state_before: State,
}

struct Search<'a> {
    calls: &'a Calls,
    limits: Limits,
    events: Events,
    optional_used: Vec<bool>,
    state: State,
    /// Names the set of placed operations.
    placed_hash: u128,
    required_left: usize,
    path: Vec<Placed>,
    /// A collision of these 128-bit names would leave out part of the search: it could raise a false alarm, with a
    /// probability below 2^-80 at two million configurations, but never hide a violation.
    visited: HashSet<u128>,
    longest: Option<Stuck>,
    longest_required: usize,
}

impl<'a> Search<'a> {
    fn new(calls: &'a Calls, limits: Limits) -> Self {
        Self {
            calls,
            limits,
            events: Events::of(&calls.required),
            optional_used: vec![false; calls.optional.len()],
            state: ABSENT,
            placed_hash: 0,
            required_left: calls.required.len(),
            path: Vec::new(),
            visited: HashSet::new(),
            longest: None,
            longest_required: 0,
        }
    }

    fn run(mut self) -> Finding {
        let mut position = Position::Fresh;
        while self.required_left > 0 {
            if let Some((choice, state, then)) = self.choose(position) {
                if self.visited.len() >= self.limits.configurations_per_key {
                    return Finding::GaveUp { configurations: self.visited.len() };
                }
                position = if self.visited.insert(self.name_after(choice, state)) {
                    self.place(choice, state, then);
                    Position::Fresh
                } else {
                    then
                };
                continue;
            }
            self.note_stuck();
            let Some(placed) = self.path.pop() else {
                let stuck = self.longest.expect("the search got stuck at least here");
                return Finding::Stuck(stuck);
            };
            position = self.take_back(placed);
        }
        Finding::Linearizable { configurations: self.visited.len() }
    }

    /// The next choice at or after `position`, the state it leaves, and where to go on after it.
    fn choose(&self, position: Position) -> Option<(Choice, State, Position)> {
        let mut node = match position {
            Position::Fresh => {
                if let Some(call) = self.at_once() {
                    return Some((Choice::Required(call), self.state, Position::Exhausted));
                }
                self.events.first()
            }
            Position::Required(node) => node,
            Position::Optional(from) => return self.choose_optional(from),
            Position::Exhausted => return None,
        };
        while let Event::Call(call) = self.events.event(node) {
            node = self.events.after(node);
            if let Some(state) = self.calls.required[call].rule.apply(self.state) {
                return Some((Choice::Required(call), state, Position::Required(node)));
            }
        }
        self.choose_optional(0)
    }

    fn choose_optional(&self, from: usize) -> Option<(Choice, State, Position)> {
        let deadline_ns = self.calls.required[self.first_to_return()].returned_ns;
        for (index, call) in self.calls.optional.iter().enumerate().skip(from) {
            if call.invoked_ns > deadline_ns {
                break;
            }
            if self.optional_used[index] || call.after.is_some_and(|earlier| !self.optional_used[earlier]) {
                continue;
            }
            if let Some(state) = call.rule.apply(self.state).filter(|state| *state != self.state) {
                return Some((Choice::Optional(index), state, Position::Optional(index + 1)));
            }
        }
        None
    }

    /// A required call that may be placed now and never changes anything.
    fn at_once(&self) -> Option<usize> {
        let mut node = self.events.first();
        while let Event::Call(call) = self.events.event(node) {
            let rule = self.calls.required[call].rule;
            if rule.only_observes() && rule.apply(self.state).is_some() {
                return Some(call);
            }
            node = self.events.after(node);
        }
        None
    }

    /// The unplaced required call that returns first.
    fn first_to_return(&self) -> usize {
        let mut node = self.events.first();
        loop {
            match self.events.event(node) {
                Event::Call(_) => node = self.events.after(node),
                Event::Return(call) => return call,
                Event::End => unreachable!("an unplaced required call has its return in the list"),
            }
        }
    }

    fn place(&mut self, choice: Choice, state: State, then: Position) {
        match choice {
            Choice::Required(call) => {
                self.events.take_out(call);
                self.required_left -= 1;
            }
            Choice::Optional(index) => self.optional_used[index] = true,
        }
        self.placed_hash ^= self.hash_of(choice);
        self.path.push(Placed { choice, then, state_before: self.state });
        self.state = state;
    }

    fn take_back(&mut self, placed: Placed) -> Position {
        match placed.choice {
            Choice::Required(call) => {
                self.events.put_back(call);
                self.required_left += 1;
            }
            Choice::Optional(index) => self.optional_used[index] = false,
        }
        self.placed_hash ^= self.hash_of(placed.choice);
        self.state = placed.state_before;
        placed.then
    }

    fn note_stuck(&mut self) {
        let placed_required = self.calls.required.len() - self.required_left;
        // Among orders that get equally far, the one with the fewest unknown operations is the clearest.
        let better = self.longest.as_ref().is_none_or(|longest| {
            placed_required > self.longest_required
                || (placed_required == self.longest_required && self.path.len() < longest.order.len())
        });
        if !better {
            return;
        }
        let operation = |placed: &Placed| match placed.choice {
            Choice::Required(call) => self.calls.required[call].operation,
            Choice::Optional(index) => self.calls.optional[index].operation,
        };
        let order = self.path.iter().map(operation).collect();
        let blocked = self.calls.required[self.first_to_return()].operation;
        self.longest = Some(Stuck { order, blocked });
        self.longest_required = placed_required;
    }

    /// The name of the configuration after a choice.
    fn name_after(&self, choice: Choice, state: State) -> u128 {
        self.placed_hash ^ self.hash_of(choice) ^ wide_mix(u64::from(state.0) | 1 << 63)
    }

    fn hash_of(&self, choice: Choice) -> u128 {
        let index = match choice {
            Choice::Required(call) => call,
            Choice::Optional(index) => self.calls.required.len() + index,
        };
        wide_mix(u64::try_from(index).expect("an index fits 64 bits"))
    }
}

fn wide_mix(input: u64) -> u128 {
    u128::from(mix(input)) << 64 | u128::from(mix(!input))
}

/// The finaliser of SplitMix64.
fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Clone, Copy)]
enum Event {
    Call(usize),
    Return(usize),
    End,
}

/// Calls and returns of the unplaced required operations in the order of time, as a doubly linked list.
struct Events {
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    call_node: Vec<usize>,
    return_node: Vec<usize>,
}

impl Events {
    fn of(required: &[Required]) -> Self {
        let mut order: Vec<(u64, bool, usize)> = Vec::with_capacity(required.len() * 2);
        for (index, call) in required.iter().enumerate() {
            order.push((call.invoked_ns, false, index));
            order.push((call.returned_ns, true, index));
        }
        // At equal times calls come before returns: intervals are closed.
        order.sort_unstable();
        let end = order.len();
        let mut call_node = vec![0; required.len()];
        let mut return_node = vec![0; required.len()];
        let mut events = Vec::with_capacity(end + 1);
        for (node, &(_, is_return, index)) in order.iter().enumerate() {
            if is_return {
                return_node[index] = node;
                events.push(Event::Return(index));
            } else {
                call_node[index] = node;
                events.push(Event::Call(index));
            }
        }
        // The last node is the end and, the list being a ring, also what comes before the first.
        events.push(Event::End);
        let next = (1..=end).chain([0]).collect();
        let previous = [end].into_iter().chain(0..end).collect();
        Self { events, next, previous, call_node, return_node }
    }

    fn first(&self) -> usize {
        self.next[self.events.len() - 1]
    }

    fn after(&self, node: usize) -> usize {
        self.next[node]
    }

    fn event(&self, node: usize) -> Event {
        self.events[node]
    }

    fn take_out(&mut self, call: usize) {
        for node in [self.call_node[call], self.return_node[call]] {
            let (previous, next) = (self.previous[node], self.next[node]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    /// Must undo the latest [`take_out`](Self::take_out) that is not yet undone.
    fn put_back(&mut self, call: usize) {
        for node in [self.return_node[call], self.call_node[call]] {
            let (previous, next) = (self.previous[node], self.next[node]);
            self.next[previous] = node;
            self.previous[next] = node;
        }
    }
}
