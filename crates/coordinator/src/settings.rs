//! What an operator chooses.

use farrow_control::map::{CommitKind, Sizes};
use serde::{Deserialize, Serialize};

/// What an operator chooses of a coordinated cluster. Sizes, homes and the commit protocol count when the cluster forms and
/// never again; everything else may be different after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The cluster's name.
    pub name: String,
    /// Which protocol replicates slots.
    pub commit: CommitKind,
    /// Redundancy and sizes.
    pub sizes: Sizes,
    /// Homes for each node that is there when the cluster forms.
    pub homes_per_node: u16,
    /// Nodes that the cluster waits for before it forms; never fewer than copies.
    pub nodes_to_form: u16,
    /// Lost nodes whose segments the others have room for, as long as enough are left for the copies.
    pub headroom_nodes: u16,
    /// Fewest members of a home that clients write to; 0 for one less than the policy's copies, and at least one.
    pub write_floor: u8,
    /// How long a lease is, in nanoseconds. Those who hold one use 15/16 of it, as rates of clocks differ.
    pub lease_ns: u64,
    /// Bytes a second that an order may copy while clients work; 0 is no cap.
    pub restore_bytes_per_s: u64,
    /// Where coordinators listen.
    pub coordinators: Vec<String>,
}

impl Settings {
    /// The floor that is meant.
    pub fn floor(&self) -> u8 {
        match self.write_floor {
            0 => (self.sizes.policy.copies() as u8 - 1).max(1),
            floor => floor.min(self.sizes.policy.copies() as u8),
        }
    }

    /// How long after its last word a node is given nothing more to do: its lease may end any moment.
    pub(crate) fn silent_ns(&self) -> u64 {
        self.lease_ns / 8 * 7
    }

    /// How long after its last word a node still counts as evidence that this coordinator is in touch with the cluster.
    /// Nodes ask every quarter of a lease.
    pub(crate) fn fresh_ns(&self) -> u64 {
        self.lease_ns / 4 * 3
    }
}
