//! Names of things: small integers that must not be mixed up.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[doc = $doc:literal])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A memory node's place in the cluster map.
    NodeId(u16), "n"
);
id!(
    /// A client: one thread of one process on a compute node. Never 0; never used again while a session lives.
    ClientId(u32), "c"
);
id!(
    /// A home: one data member of a placement group and its redundancy members, in order.
    HomeId(u16), "h"
);
id!(
    /// A partition of the index, bound to one home.
    PartitionId(u32), "p"
);
id!(
    /// The version of the cluster map; links belong to one epoch.
    Epoch(u64), "e"
);

impl ClientId {
    /// Nodes' agents have the ids from here on. No coordinator hands them out.
    pub const FIRST_AGENT: ClientId = ClientId(0xfff0_0000);

    /// Whether it is a node's agent that works under this id.
    pub fn is_agent(self) -> bool {
        self.0 >= ClientId::FIRST_AGENT.0
    }
}

/// One life of a memory node's memory: drawn at random when it is formatted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
