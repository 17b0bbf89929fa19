//! Makes a failing run smaller: first what it does, then in which order.

use crate::case::{Case, GrainName, PaceName, is_endless};
use crate::explore::simplest;
use crate::home::{self, Fault, Scenario, Table};
use crate::sweep::caught;
use farrow_fabric_sim::{Recording, Seed, World};

/// Orders drawn for a scenario before it counts as one that does not fail.
const DRAWN: u64 = 400;
/// Runs of a search for the order with the fewest delays.
const SEARCHED: u64 = 20_000;
/// Delays beyond this are not worth searching for: the choices that are left say as much.
const MOST_DELAYS: usize = 3;

/// Makes a failing run smaller, keeping that some oracle objects. Equal cases give equal results.
#[derive(Clone, Debug)]
pub struct Minimise {
    /// Runs made, at most.
    pub most_runs: u64,
}

impl Default for Minimise {
    fn default() -> Minimise {
        Minimise { most_runs: 500_000 }
    }
}

impl Minimise {
    /// The smaller case, which fails too; `None` if `case` does not fail. `tick` is called with what is being tried and
    /// the number of runs so far.
    pub fn run(&self, case: &Case, tick: impl FnMut(&'static str, u64)) -> Option<Case> {
        let mut work = Work { most: self.most_runs, runs: 0, tick, stage: "repeating it" };
        let said = case.run(false).1.err()?;
        let mut best = Case { said, ..case.clone() };
        work.stage = "another order";
        if best.pace != PaceName::Chosen
            && let Some(found) = work.redrawn(&best, &best.scenario.clone())
        {
            best = found;
        }
        work.stage = "a smaller scenario";
        while let Some(found) = smaller(&best.scenario).into_iter().find_map(|s| work.redrawn(&best, &s)) {
            best = found;
        }
        work.stage = "fewer delays";
        for delays in 0..=MOST_DELAYS {
            if best.pace != PaceName::Chosen || work.is_over() {
                break;
            }
            let grain = best.options(false).grain;
            let most = SEARCHED.min(work.most - work.runs);
            work.runs += most;
            let or_endless = is_endless(&best.said);
            let found = simplest(best.protocol, &best.scenario, grain, delays, most, or_endless);
            if let Some(found) = found {
                best = found;
                break;
            }
        }
        work.stage = "fewer choices";
        Some(work.fewer_choices(best))
    }
}

struct Work<T> {
    most: u64,
    runs: u64,
    tick: T,
    stage: &'static str,
}

impl<T: FnMut(&'static str, u64)> Work<T> {
    fn is_over(&self) -> bool {
        self.runs >= self.most
    }

    fn counted(&mut self) {
        self.runs += 1;
        if self.runs.is_multiple_of(64) {
            (self.tick)(self.stage, self.runs);
        }
    }

    /// The case with what its run says, if that is a failure.
    fn fails(&mut self, case: Case) -> Option<Case> {
        self.counted();
        let said = case.run(false).1.err()?;
        (!is_endless(&said) || is_endless(&case.said)).then_some(Case { said, ..case })
    }

    /// A failing run of `scenario`: with the choices of `case`, or in some order that is drawn.
    fn redrawn(&mut self, case: &Case, scenario: &Scenario) -> Option<Case> {
        if self.is_over() {
            return None;
        }
        let same = Case { scenario: scenario.clone(), ..case.clone() };
        if *scenario != case.scenario
            && let Some(found) = self.fails(same.clone())
        {
            return Some(found);
        }
        let grains = match case.grain {
            GrainName::Whole => &[GrainName::Whole][..],
            GrainName::Pieces | GrainName::Words => &[GrainName::Whole, GrainName::Words][..],
        };
        for grain in grains {
            let case = Case { grain: *grain, pace: PaceName::Chosen, ..same.clone() };
            for seed in 0..DRAWN {
                if self.is_over() {
                    return None;
                }
                self.counted();
                let (recording, list) = Recording::new(Seed::new(seed));
                let world = World::new(case.options(false), recording);
                let outcome = caught(|| home::run_as(&world, case.protocol, scenario));
                world.end();
                if outcome.is_err_and(|said| !is_endless(&said) || is_endless(&case.said)) {
                    let choices = list.borrow().clone();
                    return self.fails(Case { choices, ..case });
                }
            }
        }
        None
    }

    /// Zeros and removes blocks of choices, halves the blocks, and goes on until single choices stay.
    fn fewer_choices(&mut self, mut best: Case) -> Case {
        let trim = |case: &mut Case| {
            let end = case.choices.iter().rposition(|c| *c != 0).map_or(0, |last| last + 1);
            case.choices.truncate(end);
        };
        trim(&mut best);
        let mut block = best.choices.len().next_power_of_two();
        while block > 0 && !self.is_over() {
            let mut start = 0;
            while start < best.choices.len() && !self.is_over() {
                let end = best.choices.len().min(start + block);
                let mut removed = best.clone();
                removed.choices.drain(start..end);
                let mut zeroed = best.clone();
                zeroed.choices[start..end].fill(0);
                let is_zero = best.choices[start..end].iter().all(|c| *c == 0);
                if let Some(mut found) = self.fails(removed) {
                    trim(&mut found);
                    best = found;
                } else if !is_zero && let Some(mut found) = self.fails(zeroed) {
                    trim(&mut found);
                    best = found;
                    start += block;
                } else {
                    start += block;
                }
            }
            block /= 2;
        }
        best
    }
}

/// Scenarios with one thing less, those that lose most first.
fn smaller(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Scenario)| {
        let mut other = scenario.clone();
        change(&mut other);
        if other != *scenario && other.check().is_ok() {
            all.push(other);
        }
    };
    if scenario.clients.len() > 1 {
        // A client that a fault is about goes once the fault has.
        let is_free = |index: &usize| scenario.faults.iter().all(|fault| fault.client() != Some(*index));
        for index in (0..scenario.clients.len()).filter(is_free) {
            add(&|s| {
                s.clients.remove(index);
                for client in s.faults.iter_mut().filter_map(Fault::client_mut) {
                    *client -= usize::from(*client > index);
                }
            });
        }
    }
    for index in 0..scenario.faults.len() {
        add(&|s| _ = s.faults.remove(index));
    }
    add(&|s| s.table = Table::New);
    // Nodes are counted through, the spare behind the copies.
    if scenario.spares > 0 {
        add(&|s| {
            s.spares = 0;
            s.faults.retain(|fault| !matches!(fault, Fault::Restore { .. }));
            s.faults.retain(|fault| fault.node().is_none_or(|node| node < s.copies));
        });
    } else if scenario.copies > 1 {
        add(&|s| {
            s.copies -= 1;
            s.faults.retain(|fault| fault.node().is_none_or(|node| node < s.copies));
        });
    }
    for client in 0..scenario.clients.len() {
        for step in 0..scenario.clients[client].len() {
            add(&|s| _ = s.clients[client].remove(step));
        }
    }
    for index in 0..scenario.present.len() {
        add(&|s| _ = s.present.remove(index));
    }
    for client in 0..scenario.clients.len() {
        for step in 0..scenario.clients[client].len() {
            add(&|s| s.clients[client][step].cached = false);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::{Name, Protocol, Step, Verb};
    use crate::timeline::timeline;
    use farrow_fabric_sim::Grain;

    #[test]
    fn smaller_scenarios_can_be_run_and_come_to_an_end() {
        for seed in 0..50 {
            let mut open = Case::of_seed(Protocol::Colocated, seed).scenario;
            // Always the first: it must end, or a minimiser would not.
            for _ in 0..200 {
                let Some(next) = smaller(&open).into_iter().next() else { break };
                next.check().expect("what is left can be run");
                open = next;
            }
            assert!(smaller(&open).is_empty(), "{open:?}");
        }
    }

    /// SNAPSHOT's losers wait for the winner for ever if it has stopped: a failure that no mutation has to make.
    fn failing() -> Case {
        let step = |verb, key| Step { verb, key, cached: true };
        let scenario = Scenario {
            copies: 3,
            spares: 0,
            table: Table::New,
            present: vec![Name::Base, Name::Twin],
            clients: vec![
                vec![step(Verb::Put, Name::Base), step(Verb::Get, Name::Twin)],
                vec![
                    step(Verb::Exists, Name::Twin),
                    step(Verb::Put, Name::Base),
                    step(Verb::Delete, Name::Base),
                ],
                vec![step(Verb::Get, Name::Base)],
            ],
            faults: vec![Fault::Stop { client: 0, after: crate::home::When::Events(0) }],
        };
        simplest(Protocol::Snapshot, &scenario, Grain::Whole, 3, 50_000, true).expect("the loser waits")
    }

    #[test]
    fn a_failing_run_becomes_small_and_can_be_read() {
        let case = failing();
        let minimise = Minimise { most_runs: 800 };
        let smaller = minimise.run(&case, |_, _| {}).expect("it fails");
        assert_eq!(minimise.run(&case, |_, _| {}), Some(smaller.clone()), "equal cases give equal results");
        let operations = |case: &Case| case.scenario.clients.iter().map(Vec::len).sum::<usize>();
        assert!(operations(&smaller) <= 2 && operations(&case) == 6, "{:?}", smaller.scenario);
        assert!(smaller.choices.len() <= 40, "{:?}", smaller.choices);
        assert_eq!(smaller.run(false).1.unwrap_err(), smaller.said);
        let page = timeline(&smaller);
        assert!(page.lines().count() < 300, "{page}");
        for part in ["STOPS FOR GOOD", "CAS slot", "put v", "THE ORACLE SAYS", &smaller.said] {
            assert!(page.contains(part), "no `{part}` in\n{page}");
        }
    }

    #[test]
    fn a_run_that_does_not_fail_is_not_made_smaller() {
        let case = Case::of_seed(Protocol::Colocated, 1);
        assert_eq!(case.said, "");
        assert!(Minimise::default().run(&case, |_, _| {}).is_none());
    }

    #[test]
    fn a_case_is_the_same_from_its_file_and_in_its_run() {
        let case = Case::of_seed(Protocol::Snapshot, 3);
        let again = Case::from_text(&case.to_text()).expect("it was just written");
        assert_eq!(again, case);
        let hash = |case: &Case| case.run(false).0.trace().hash();
        assert_eq!(hash(&again), hash(&case));
        let wrong = case.to_text().replace("\"copies\":", "\"copies\":9");
        assert!(Case::from_text(&wrong).is_err(), "{wrong}");
    }
}
