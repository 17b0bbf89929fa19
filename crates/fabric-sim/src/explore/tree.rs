//! Where a search is: the choices of the present run, and what is still to be tried at each of them.

use super::bits::Bits;
use super::{Counts, Reduction, Search};
use crate::{Done, Footprint, Lane, LaneKind, Point};

/// More lanes than this at once are beyond what a search could exhaust.
const MOST_LANES: usize = 64;

pub(super) struct Tree {
    search: Search,
    pub(super) counts: Counts,
    /// The choices of the run, as a replay takes them.
    pub(super) list: Vec<u64>,
    /// Whether the run is in the part that is searched.
    pub(super) is_on: bool,
    /// Steps of the present run, from the first that was searched on; those behind `depth` are being repeated.
    nodes: Vec<Node>,
    /// Nodes that were used before, for their room.
    spare: Vec<Node>,
    depth: usize,
    /// Draws made within the present step.
    drawn: usize,
    was_pruned: bool,
    /// Lanes that stand back, the longest first; then timers and faults.
    delayed: Vec<Lane>,
    /// Random numbers drawn so far, by task.
    random: Vec<(Lane, u64)>,
    /// Scratch of `find_races`.
    races: Vec<usize>,
}

/// One step, and what else it could have been.
struct Node {
    /// What could happen, in the order in which it is tried.
    enabled: Vec<Lane>,
    chosen: usize,
    /// Tried before, earlier on this path: whatever begins with these has been seen.
    sleep: Vec<Footprint>,
    /// Bits over `enabled`: what has to be tried, with what was.
    backtrack: u64,
    /// Tried here, before `chosen`.
    tried: Vec<Footprint>,
    /// What the step drew: of how many, and what.
    draws: Vec<(u64, u64)>,
    /// Delays spent before this step.
    delays: usize,
    /// Timers gone off early before this step.
    early_timers: usize,
    // Known once the step is taken:
    is_analysed: bool,
    number: u64,
    footprint: Footprint,
    /// Steps that come before it in every run of its class.
    before: Bits,
    /// Steps any one of which would have woken it, if it is a poll.
    wakers: Vec<usize>,
}

impl Node {
    fn new() -> Node {
        Node {
            enabled: Vec::new(),
            chosen: 0,
            sleep: Vec::new(),
            backtrack: 0,
            tried: Vec::new(),
            draws: Vec::new(),
            delays: 0,
            early_timers: 0,
            is_analysed: false,
            number: 0,
            footprint: Footprint::new(Lane::new(LaneKind::Fault, 0, 0)),
            before: Bits::default(),
            wakers: Vec::new(),
        }
    }

    fn lane(&self) -> Lane {
        self.enabled[self.chosen]
    }

    fn sleeps(&self, lane: Lane) -> bool {
        self.sleep.iter().chain(&self.tried).any(|print| print.lane == lane)
    }

    fn is_early(&self, index: usize) -> bool {
        let now = |lane: &Lane| !matches!(lane.kind, LaneKind::Fire | LaneKind::Fault);
        self.enabled[index].kind == LaneKind::Fire && self.enabled.iter().any(now)
    }

    fn may(&self, index: usize, search: &Search) -> bool {
        !self.is_early(index) || self.early_timers < search.early_timers
    }
}

impl Tree {
    pub(super) fn new(search: Search) -> Tree {
        Tree {
            search,
            counts: Counts::default(),
            list: Vec::new(),
            is_on: false,
            nodes: Vec::new(),
            spare: Vec::new(),
            depth: 0,
            drawn: 0,
            was_pruned: false,
            delayed: Vec::new(),
            random: Vec::new(),
            races: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self) {
        self.list.clear();
        self.delayed.clear();
        self.random.clear();
        (self.is_on, self.depth, self.drawn, self.was_pruned) = (false, 0, 0, false);
    }

    pub(super) fn below(&mut self, count: u64, point: Point) -> u64 {
        let branches = match point {
            Point::Fault => true,
            Point::Piece => self.search.pieces,
            Point::Next | Point::Latency | Point::Random | Point::Scenario => false,
        };
        let chosen = match point {
            // Clients that draw the same would keep out of each other's way at the same times, for ever.
            Point::Random => self.random(count),
            _ if branches && self.is_on && self.depth > 0 && count > 1 => {
                let node = &mut self.nodes[self.depth - 1];
                if self.drawn == node.draws.len() {
                    node.draws.push((count, 0));
                }
                let (of, chosen) = node.draws[self.drawn];
                assert_eq!(of, count, "a run was not repeated as it was");
                self.drawn += 1;
                chosen
            }
            _ => 0,
        };
        self.list.push(chosen);
        chosen
    }

    /// Depends on the task and on how many it has drawn, and on nothing that others do.
    fn random(&mut self, count: u64) -> u64 {
        let lane = match self.nodes.get(self.depth.wrapping_sub(1)) {
            Some(node) if self.is_on => node.lane(),
            _ => Lane::new(LaneKind::Poll, 0, 0),
        };
        let index = self.random.iter().position(|(other, _)| *other == lane).unwrap_or_else(|| {
            self.random.push((lane, 0));
            self.random.len() - 1
        });
        self.random[index].1 += 1;
        let seed = u64::from(lane.number) << 32 | self.random[index].1;
        crate::Choices::below(&mut crate::Seed::new(seed), count, Point::Random)
    }

    pub(super) fn step(&mut self, enabled: &[Lane]) -> Option<usize> {
        if !self.is_on {
            return Some(self.canonical(enabled, enabled[0]));
        }
        self.drawn = 0;
        if self.depth == self.nodes.len() && !self.push(enabled) {
            self.was_pruned = true;
            return None;
        }
        let node = &self.nodes[self.depth];
        assert_eq!(node.enabled.len(), enabled.len(), "a run was not repeated as it was");
        let lane = node.lane();
        if self.search.delays.is_some() {
            for passed in &node.enabled[..node.chosen] {
                self.delayed.retain(|other| other != passed);
                self.delayed.push(*passed);
            }
        }
        self.depth += 1;
        Some(self.canonical(enabled, lane))
    }

    /// The index of a lane, written down as a replay will ask for it.
    fn canonical(&mut self, enabled: &[Lane], lane: Lane) -> usize {
        let index = enabled.iter().position(|other| *other == lane);
        let index = index.expect("a run was not repeated as it was");
        if enabled.len() > 1 {
            self.list.push(index as u64);
        }
        index
    }

    /// Adds a node for what is enabled; `false` if all of it sleeps.
    fn push(&mut self, enabled: &[Lane]) -> bool {
        assert!(enabled.len() <= MOST_LANES, "{} lanes at once", enabled.len());
        let mut node = self.spare.pop().unwrap_or_else(Node::new);
        node.enabled.clear();
        node.enabled.extend_from_slice(enabled);
        if self.search.delays.is_some() {
            let delayed = &self.delayed;
            // Timers and faults come behind whoever stands back; or a client that looks again and again for what
            // another is held back from doing would do so for ever.
            node.enabled.sort_by_key(|lane| {
                let late = matches!(lane.kind, LaneKind::Fire | LaneKind::Fault);
                (late, delayed.iter().position(|other| other == lane).map(|place| place + 1), *lane)
            });
        }
        for list in [&mut node.sleep, &mut node.tried] {
            list.clear();
        }
        node.draws.clear();
        node.is_analysed = false;
        (node.delays, node.early_timers) = (0, 0);
        if let Some(parent) = self.nodes.last() {
            node.delays = parent.delays + parent.chosen;
            node.early_timers = parent.early_timers + usize::from(parent.is_early(parent.chosen));
            let asleep = parent.sleep.iter().chain(&parent.tried);
            node.sleep.extend(asleep.filter(|print| !print.depends_on(&parent.footprint)));
        }
        let free = |index: &usize| !node.sleeps(node.enabled[*index]) && node.may(*index, &self.search);
        let Some(first) = (0..node.enabled.len()).find(free) else {
            self.spare.push(node);
            return false;
        };
        node.chosen = first;
        node.backtrack = 1 << first;
        self.nodes.push(node);
        true
    }

    pub(super) fn done(&mut self, done: &Done<'_>) {
        if !self.is_on || self.depth == 0 {
            return;
        }
        let last = self.depth - 1;
        if self.nodes[last].is_analysed {
            return;
        }
        let (seen, rest) = self.nodes.split_at_mut(last);
        let node = &mut rest[0];
        node.is_analysed = true;
        node.footprint = *done.footprint;
        node.number = done.number;
        if self.search.reduction != Reduction::Source {
            return;
        }
        let first = seen.first().map_or(node.number, |first| first.number);
        let causes: Vec<usize> =
            done.causes.iter().filter(|c| **c >= first).map(|c| (c - first) as usize).collect();
        node.wakers.clear();
        let is_poll = node.footprint.lane.kind == LaneKind::Poll;
        // Woken before the search began, it could always have been polled.
        if is_poll && causes.len() == done.causes.len() {
            node.wakers.extend(&causes);
        }
        self.races.clear();
        node.before.clear();
        for i in (0..last).rev() {
            if node.before.contains(i) {
                continue;
            }
            let other = &seen[i];
            let is_cause = causes.contains(&i);
            if !is_cause && !other.footprint.depends_on(&node.footprint) {
                continue;
            }
            let is_told = is_poll
                && other.footprint.lane.client == node.footprint.lane.client
                && matches!(other.footprint.lane.kind, LaneKind::Answer | LaneKind::Fire);
            let is_reversible = if is_told && !self.search.partial_polls {
                false
            } else if is_poll {
                let wakes = |w: &usize| *w != i && !seen[*w].before.contains(i);
                node.wakers.is_empty() || node.wakers.iter().any(wakes)
            } else {
                !is_cause
            };
            if is_reversible && other.footprint.lane != node.footprint.lane {
                self.races.push(i);
            }
            node.before.insert(i);
            node.before.extend(&other.before);
        }
        if node.footprint.lane.kind == LaneKind::Fault {
            // What a fault takes away never comes, so no race would tell of it.
            let client = node.footprint.lane.client;
            for (index, lane) in node.enabled.iter().enumerate() {
                if client == u32::MAX || lane.client == client {
                    node.backtrack |= 1 << index;
                }
            }
        }
        for index in 0..self.races.len() {
            self.reverse(self.races[index], last);
        }
    }

    /// Sees to it that some run has step `late` before step `early`, with which it races: unless something is tried at
    /// `early` already that such a run could begin with.
    fn reverse(&mut self, early: usize, late: usize) {
        // The steps in between that need not follow `early`, and `late`; of these, those that need none of the others.
        let mut between = Bits::default();
        let mut first: Vec<Lane> = Vec::new();
        for index in early + 1..=late {
            let node = &self.nodes[index];
            if index < late && node.before.contains(early) {
                continue;
            }
            if !node.before.meets(&between) {
                first.push(node.footprint.lane);
            }
            between.insert(index);
        }
        let wanted = self.nodes[late].footprint.lane;
        let node = &mut self.nodes[early];
        let tried = |index: &usize| node.backtrack >> index & 1 == 1 || node.sleeps(node.enabled[*index]);
        let place = |lane: &Lane| node.enabled.iter().position(|other| other == lane);
        if first.iter().filter_map(place).any(|index| tried(&index)) {
            return;
        }
        let chosen = if first.contains(&wanted) { place(&wanted) } else { None };
        match chosen.or_else(|| first.iter().find_map(place)) {
            Some(index) if node.may(index, &self.search) => node.backtrack |= 1 << index,
            Some(_) => self.counts.timers_held += 1,
            None => node.backtrack = u64::MAX >> (MOST_LANES - node.enabled.len()),
        }
    }

    pub(super) fn advance(&mut self) -> bool {
        self.counts.steps += self.depth as u64;
        self.counts.longest = self.counts.longest.max(self.depth);
        if self.was_pruned {
            self.counts.pruned += 1;
        } else {
            self.counts.schedules += 1;
        }
        self.nodes.truncate(self.depth);
        while let Some(node) = self.nodes.last_mut() {
            while let Some((count, chosen)) = node.draws.last_mut() {
                if *chosen + 1 < *count {
                    *chosen += 1;
                    node.is_analysed = false;
                    return true;
                }
                node.draws.pop();
            }
            if let Some(next) = next(node, &self.search, &mut self.counts) {
                if self.search.reduction != Reduction::None {
                    node.tried.push(node.footprint);
                }
                node.chosen = next;
                node.is_analysed = false;
                return true;
            }
            self.spare.extend(self.nodes.pop());
        }
        false
    }
}

/// What to try next at a node.
fn next(node: &Node, search: &Search, counts: &mut Counts) -> Option<usize> {
    let mut may = |index: &usize| {
        let may = node.may(*index, search);
        counts.timers_held += u64::from(!may);
        may
    };
    let later = node.chosen + 1..node.enabled.len();
    match search.reduction {
        Reduction::None => {
            let afford = |index: &usize| search.delays.is_none_or(|most| node.delays + index <= most);
            later.into_iter().filter(afford).find(|index| may(index))
        }
        Reduction::Sleep => {
            later.into_iter().filter(|i| !node.sleeps(node.enabled[*i])).find(|index| may(index))
        }
        Reduction::Source => (0..node.enabled.len())
            .filter(|i| node.backtrack >> i & 1 == 1 && *i != node.chosen)
            .filter(|i| !node.sleeps(node.enabled[*i]))
            .find(|index| may(index)),
    }
}
