//! The harness tested by known bugs: how many runs each of them survives until an oracle objects.

use crate::home::{Protocol, Restored};
use crate::sweep::{Family, Tally, caught};
use crate::whole::{Coordinated, Whole};
use farrow_control::map::CommitKind;
use farrow_protocol::mutant::{Mutant, choose};

const COORDINATED: Coordinated = Coordinated { commit: CommitKind::Colocated };

/// A family of runs with a bug in it.
#[derive(Clone, Copy, Debug)]
pub struct Mutated<F> {
    /// The runs.
    pub family: F,
    /// The bug.
    pub mutant: Mutant,
}

impl<F: Family> Family for Mutated<F> {
    fn name(&self) -> String {
        format!("{} with {}", self.family.name(), self.mutant.label())
    }

    fn run(&self, seed: u64) -> Tally {
        let _chosen = Chosen::of(self.mutant);
        self.family.run(seed)
    }

    fn paths(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Takes the bug out again, however the run ends.
struct Chosen;

impl Chosen {
    fn of(mutant: Mutant) -> Chosen {
        choose(Some(mutant));
        Chosen
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        choose(None);
    }
}

/// Which runs are searched for a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// One home.
    Home(Protocol),
    /// A whole cluster.
    Whole(CommitKind),
    /// One home that is restored, and whose clients are recovered.
    Restored,
    /// A cluster with a coordinator, leases and agents.
    Coordinated,
}

impl Runs {
    /// All there are.
    pub const ALL: [Runs; 6] = [
        Runs::Home(Protocol::Colocated),
        Runs::Whole(CommitKind::Colocated),
        Runs::Home(Protocol::Snapshot),
        Runs::Whole(CommitKind::Snapshot),
        Runs::Restored,
        Runs::Coordinated,
    ];

    /// Their name.
    pub fn name(self) -> String {
        match self {
            Runs::Home(protocol) => Family::name(&protocol),
            Runs::Whole(commit) => Whole { commit }.name(),
            Runs::Restored => Restored.name(),
            Runs::Coordinated => COORDINATED.name(),
        }
    }

    /// Runs seeds from `first` on, `most` at the most: how many it took until an oracle objected, and what it said.
    pub fn hunt(self, mutant: Mutant, first: u64, most: u64) -> Option<(u64, String)> {
        match self {
            Runs::Home(family) => hunt(&Mutated { family, mutant }, first, most),
            Runs::Restored => hunt(&Mutated { family: Restored, mutant }, first, most),
            Runs::Coordinated => hunt(&Mutated { family: COORDINATED, mutant }, first, most),
            Runs::Whole(commit) => hunt(&Mutated { family: Whole { commit }, mutant }, first, most),
        }
    }
}

fn hunt(family: &impl Family, first: u64, most: u64) -> Option<(u64, String)> {
    (0..most).find_map(|n| caught(|| family.run(first + n)).err().map(|why| (n + 1, why)))
}
