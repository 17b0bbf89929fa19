//! What may befall a process.

use std::fmt;
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A node is killed, and started again a little later with empty memory.
    NodeKill,
    /// Two nodes are killed at once.
    PairKill,
    /// A node is stopped for up to three leases, and runs on.
    NodePause,
    /// A client is killed; another takes its place.
    ClientKill,
    /// A client is stopped for up to three leases, and runs on.
    ClientPause,
    /// The coordinator is killed, and started again a little later.
    CoordinatorKill,
    /// The coordinator is stopped for up to three leases, and runs on.
    CoordinatorPause,
    /// A node does not reach the coordinator for up to three leases, and the coordinator not the node.
    NodeCut,
    /// Nobody reaches the coordinator for up to three leases.
    CoordinatorCut,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Fault; 9] = [
        Fault::NodeKill,
        Fault::PairKill,
        Fault::NodePause,
        Fault::ClientKill,
        Fault::ClientPause,
        Fault::CoordinatorKill,
        Fault::CoordinatorPause,
        Fault::NodeCut,
        Fault::CoordinatorCut,
    ];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Fault::NodeKill => "node-kill",
            Fault::PairKill => "pair-kill",
            Fault::NodePause => "node-pause",
            Fault::ClientKill => "client-kill",
            Fault::ClientPause => "client-pause",
            Fault::CoordinatorKill => "coordinator-kill",
            Fault::CoordinatorPause => "coordinator-pause",
            Fault::NodeCut => "node-cut",
            Fault::CoordinatorCut => "coordinator-cut",
        }
    }

    /// Copies that may be gone while it lasts.
    pub fn copies(self) -> usize {
        match self {
            Fault::NodeKill | Fault::NodePause | Fault::NodeCut => 1,
            Fault::PairKill => 2,
            _ => 0,
        }
    }

    /// Whether it befalls a client.
    pub fn is_of_client(self) -> bool {
        matches!(self, Fault::ClientKill | Fault::ClientPause)
    }

    /// Whether it befalls the coordinator.
    pub fn is_of_coordinator(self) -> bool {
        matches!(self, Fault::CoordinatorKill | Fault::CoordinatorPause | Fault::CoordinatorCut)
    }

    /// Whether it needs a network of its own ([`crate::net`]).
    pub fn is_partition(self) -> bool {
        matches!(self, Fault::NodeCut | Fault::CoordinatorCut)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        Fault::ALL
            .into_iter()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| format!("no such fault: there are {}", Fault::ALL.map(Fault::name).join(", ")))
    }
}
