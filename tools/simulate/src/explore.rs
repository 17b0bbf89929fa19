//! The search in full: every schedule of the scenarios of a scope, or all of those with few delays.

use crate::case::{Case, is_endless};
use crate::home::{self, Protocol, Scenario, Scope};
use crate::sweep::caught;
use farrow_fabric_sim::explore::{Counts, Explorer, Reduction, Search};
use farrow_fabric_sim::{Grain, Options, Pace, World};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Timers that may go off early in a run: a client that waits by looking again could do so for ever.
const EARLY_TIMERS: usize = 2;

/// What to search.
#[derive(Clone, Debug)]
pub struct Explore {
    /// The protocol.
    pub protocol: Protocol,
    /// The scenarios.
    pub scope: Scope,
    /// At most so many delays, instead of every schedule.
    pub delays: Option<usize>,
    /// Whether transfers are cut into words, which come in any order.
    pub words: bool,
    /// Begin no further schedule after this long.
    pub most: Duration,
    /// At most so many schedules.
    pub most_schedules: u64,
}

/// How far a search came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every schedule was run, or one that shows the same.
    Exhausted,
    /// As exhausted, but for schedules in which clients look again more often while they wait for another.
    ExhaustedWithinTimers,
    /// Every schedule with at most so many delays.
    Bounded(usize),
    /// The limit of time or schedules was reached, after so many scenarios had been searched in full.
    StoppedAfter(u64),
    /// An oracle objected.
    Found,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Explored {
    /// How far it came.
    pub ended: Ended,
    /// Scenarios of the scope.
    pub scenarios: u64,
    /// Schedules that ran to their end.
    pub schedules: u64,
    /// Runs given up, since others show the same.
    pub pruned: u64,
    /// Steps of all runs.
    pub steps: u64,
    /// Steps of the longest run.
    pub longest: usize,
    /// Different histories.
    pub histories: u64,
    /// Time.
    pub elapsed: Duration,
    /// The run to which an oracle objected.
    pub found: Option<Case>,
}

impl Explore {
    /// Every schedule of a scope, without limits.
    pub fn all_of(protocol: Protocol, scope: Scope) -> Explore {
        let most = Duration::MAX;
        Explore { protocol, scope, delays: None, words: false, most, most_schedules: u64::MAX }
    }

    /// Runs it. `tick` is called now and then, with the number of the scenario and of the schedules so far.
    pub fn run(&self, mut tick: impl FnMut(u64, u64)) -> Explored {
        let begin = Instant::now();
        let scenarios = self.scope.scenarios();
        let ended = self.delays.map_or(Ended::Exhausted, Ended::Bounded);
        let mut total = Explored {
            ended,
            scenarios: scenarios.len() as u64,
            schedules: 0,
            pruned: 0,
            steps: 0,
            longest: 0,
            histories: 0,
            elapsed: Duration::ZERO,
            found: None,
        };
        for (index, scenario) in scenarios.iter().enumerate() {
            let mut histories = BTreeSet::new();
            let before = total.schedules + total.pruned;
            let (counts, end) = self.search(scenario, &mut histories, |counts| {
                let runs = before + counts.schedules + counts.pruned;
                if runs.is_multiple_of(64) {
                    tick(index as u64, runs);
                }
                begin.elapsed() < self.most && runs < self.most_schedules
            });
            total.add(&counts, histories.len() as u64);
            match end {
                End::All if counts.timers_held > 0 && total.ended == Ended::Exhausted => {
                    total.ended = Ended::ExhaustedWithinTimers;
                }
                End::All => {}
                End::Stopped => {
                    total.ended = Ended::StoppedAfter(index as u64);
                    break;
                }
                End::Found(case) => {
                    (total.ended, total.found) = (Ended::Found, Some(case));
                    break;
                }
            }
        }
        total.elapsed = begin.elapsed();
        total
    }

    fn search(
        &self,
        scenario: &Scenario,
        histories: &mut BTreeSet<u64>,
        mut go_on: impl FnMut(&Counts) -> bool,
    ) -> (Counts, End) {
        let reduction = if self.scope.has_coordinator() { Reduction::None } else { Search::ALL.reduction };
        let search = match self.delays {
            Some(delays) => Search::delayed(delays),
            // The protocols join what they post; nothing in them asks which answer came first.
            None => Search { early_timers: EARLY_TIMERS, partial_polls: false, reduction, ..Search::ALL },
        };
        let search = Search { pieces: self.words, ..search };
        let grain = if self.words { Grain::Words } else { Grain::Whole };
        let options = Options { grain, pace: Pace::Chosen, record: false };
        let explorer = Explorer::new(search);
        loop {
            let world = World::new(options, explorer.walk());
            let outcome = caught(|| home::run_as(&world, self.protocol, scenario));
            world.end();
            match outcome {
                Ok(_) if world.is_given_up() => {}
                Ok(report) => drop(histories.insert(report.history)),
                Err(said) => {
                    let case = Case::new(self.protocol, options, scenario.clone(), explorer.list(), said);
                    return (explorer.counts(), End::Found(case));
                }
            }
            if !explorer.advance() {
                return (explorer.counts(), End::All);
            }
            if !go_on(&explorer.counts()) {
                return (explorer.counts(), End::Stopped);
            }
        }
    }
}

enum End {
    All,
    Stopped,
    Found(Case),
}

impl Explored {
    fn add(&mut self, counts: &Counts, histories: u64) {
        self.schedules += counts.schedules;
        self.pruned += counts.pruned;
        self.steps += counts.steps;
        self.longest = self.longest.max(counts.longest);
        self.histories += histories;
    }
}

/// The first failing run of one scenario with at most `delays` delays, if the search finds one within `most` runs. That it does not
/// end is a failure only if `or_endless`.
pub(crate) fn simplest(
    protocol: Protocol,
    scenario: &Scenario,
    grain: Grain,
    delays: usize,
    most: u64,
    or_endless: bool,
) -> Option<Case> {
    let options = Options { grain, pace: Pace::Chosen, record: false };
    let explorer = Explorer::new(Search::delayed(delays));
    for _ in 0..most {
        let world = World::new(options, explorer.walk());
        let outcome = caught(|| home::run_as(&world, protocol, scenario));
        world.end();
        if let Err(said) = outcome
            && (or_endless || !is_endless(&said))
        {
            return Some(Case::new(protocol, options, scenario.clone(), explorer.list(), said));
        }
        if !explorer.advance() {
            break;
        }
    }
    None
}
