//! Small scopes: all the ways in which few clients can meet over one key, each small enough to run every schedule of.

use super::Protocol;
use super::scenario::{Fault, Name, Scenario, Step, Table, Verb, When};

/// A set of small scenarios that are searched together.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its name on command lines.
    pub name: &'static str,
    /// What it holds.
    pub about: &'static str,
    copies: usize,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Two clients, an operation each.
    Pairs,
    /// As pairs; the first client stops at any point.
    Crash,
    /// As pairs; the primary is lost at any point, and an agent changes the view.
    Loss,
    /// As pairs; the primary is lost and the first client stops, each at any point.
    LossAndCrash,
    /// As pairs; the first client's link to the primary is lost, and the primary itself, each at any point.
    LossAndLink,
    /// Two clients, of which one does two operations.
    Triples,
}

impl Scope {
    /// Those that `protocol` is searched for.
    pub fn all(protocol: Protocol) -> Vec<Scope> {
        let scope = |name, about, copies, shape| Scope { name, about, copies, shape };
        let all = [
            scope("pairs-2", "2 clients, an operation each, 2 replicas", 2, Shape::Pairs),
            scope("pairs-3", "2 clients, an operation each, 3 replicas", 3, Shape::Pairs),
            scope("crash-2", "as pairs-2, and one client stops anywhere", 2, Shape::Crash),
            scope("crash-3", "as pairs-3, and one client stops anywhere", 3, Shape::Crash),
            scope("loss-2", "as pairs-2, and the primary is lost anywhere", 2, Shape::Loss),
            scope("loss-3", "as pairs-3, and the primary is lost anywhere", 3, Shape::Loss),
            scope("loss-crash-2", "as loss-2, and one client stops anywhere", 2, Shape::LossAndCrash),
            scope(
                "loss-link-2",
                "as loss-2, and a link to the primary is lost anywhere",
                2,
                Shape::LossAndLink,
            ),
            scope("triples-2", "2 clients, two operations and one, 2 replicas", 2, Shape::Triples),
            scope("triples-3", "2 clients, two operations and one, 3 replicas", 3, Shape::Triples),
        ];
        let needs_survival = |shape| !matches!(shape, Shape::Pairs | Shape::Triples);
        all.into_iter().filter(|s| !needs_survival(s.shape) || protocol.survives_stops()).collect()
    }

    /// Whether a coordinator tells the clients of views. It does so past remote memory, where a reduction of the search
    /// does not see that steps depend on each other.
    pub fn has_coordinator(&self) -> bool {
        matches!(self.shape, Shape::Loss | Shape::LossAndCrash | Shape::LossAndLink)
    }

    /// The scope of this name.
    pub fn named(protocol: Protocol, name: &str) -> Option<Scope> {
        Scope::all(protocol).into_iter().find(|scope| scope.name == name)
    }

    /// Its scenarios: over a key that is there, with and without what the clients remember of it, and over one that is
    /// not.
    pub fn scenarios(&self) -> Vec<Scenario> {
        use Verb::*;
        let there = [Get, Put, PutIfVersion, PutIfPresent, Delete];
        let mut steps: Vec<Step> = Vec::new();
        for verb in there {
            steps.extend([false, true].map(|cached| Step { verb, key: Name::Base, cached }));
        }
        let uncached = |verb| Step { verb, key: Name::Base, cached: false };
        steps.push(uncached(PutIfAbsent));
        let absent = [Get, Put, PutIfAbsent, PutIfPresent, Delete].map(uncached);
        let mut all = Vec::new();
        for (present, steps) in [(vec![Name::Base], &steps[..]), (Vec::new(), &absent[..])] {
            for clients in self.clients(steps) {
                // When, the schedule says.
                let after = When::Events(0);
                let stop = Fault::Stop { client: 0, after };
                let loss = Fault::LoseNode { node: 0, after };
                let link = Fault::LoseLink { client: 0, node: 0, after };
                let faults = match self.shape {
                    Shape::Crash => vec![stop],
                    Shape::Loss => vec![loss],
                    Shape::LossAndCrash => vec![loss, stop],
                    Shape::LossAndLink => vec![loss, link],
                    Shape::Pairs | Shape::Triples => Vec::new(),
                };
                let (copies, present) = (self.copies, present.clone());
                all.push(Scenario { copies, spares: 0, table: Table::New, present, clients, faults });
            }
        }
        all
    }

    fn clients(&self, steps: &[Step]) -> Vec<Vec<Vec<Step>>> {
        let mut all = Vec::new();
        for (i, a) in steps.iter().enumerate() {
            for (j, b) in steps.iter().enumerate() {
                match self.shape {
                    // Who comes first in the list is of no importance, unless one of them stops.
                    Shape::Pairs if i <= j => all.push(vec![vec![*a], vec![*b]]),
                    Shape::Pairs => {}
                    Shape::Loss if i > j => {}
                    Shape::Crash | Shape::Loss | Shape::LossAndCrash | Shape::LossAndLink => {
                        all.push(vec![vec![*a], vec![*b]]);
                    }
                    // Three cached operations are beyond the scope: the first of two is what the second remembers.
                    Shape::Triples => {
                        let third = steps.iter().filter(|c| c.cached == a.cached);
                        all.extend(third.map(|c| vec![vec![*a, *b], vec![*c]]));
                    }
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_hold_what_they_say() {
        for protocol in Protocol::ALL {
            for scope in Scope::all(protocol) {
                let scenarios = scope.scenarios();
                assert!(scenarios.len() >= 81, "{}: {}", scope.name, scenarios.len());
                for scenario in scenarios {
                    let operations: usize = scenario.clients.iter().map(Vec::len).sum();
                    assert!(scenario.clients.len() == 2 && operations <= 3, "{scenario:?}");
                    assert!(scope.name.ends_with(&scenario.copies.to_string()), "{}", scope.name);
                }
            }
        }
        assert!(Scope::named(Protocol::Snapshot, "crash-2").is_none(), "SNAPSHOT waits for the dead");
    }
}
