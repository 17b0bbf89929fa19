//! The cluster map: which nodes there are, which homes live on which of them, and where.

use crate::{host_of, placement};
use farrow_layout::{
    Epoch, Geometry, GeometryError, HomeId, Incarnation, KeyHash, NodeId, PartitionId, Plan, Policy,
    Superblock,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which protocol replicates slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitKind {
    /// Index replica and value copy on the same node; the primary decides; one round trip.
    Colocated,
    /// FUSEE's SNAPSHOT: backups first, then the primary; the baseline.
    Snapshot,
}

impl fmt::Display for CommitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CommitKind::Colocated => "colocated",
            CommitKind::Snapshot => "snapshot",
        })
    }
}

/// One memory node, in one life of its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its place in the map; of one life, and never given again.
    pub id: NodeId,
    /// Where its control plane listens: `host:port`.
    pub address: String,
    /// The life of its memory; 0 where nobody registers ([`ClusterMap::is_static`]).
    pub incarnation: Incarnation,
    /// What it fails together with: copies are kept in different domains where there are enough.
    pub domain: String,
    /// Whether it is there.
    pub standing: Standing,
}

/// Whether a node is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is, as far as anybody has decided.
    Up,
    /// It was passed over for good: if it comes back, it is another one.
    Lost,
}

/// One replica of a home: a segment of a node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// The node.
    pub node: NodeId,
    /// Which of its segments.
    pub segment: u32,
}

/// A home and its live members: the primary first, then the backups in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeEntry {
    /// The home.
    pub id: HomeId,
    /// Its replicas; none when more nodes were lost than the policy survives.
    pub members: Vec<MemberEntry>,
    /// The epoch in which it was closed last; links of earlier ones are not to be used for it.
    pub epoch: Epoch,
    /// Whether clients may change anything in it. What is committed may be read all the same.
    pub is_open: bool,
}

/// The cluster map of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMap {
    /// The cluster's name.
    pub name: String,
    /// This version of the map.
    pub epoch: Epoch,
    /// Which protocol replicates slots.
    pub commit: CommitKind,
    /// Sizes, the same on all nodes.
    pub geometry: Geometry,
    /// All nodes.
    pub nodes: Vec<NodeEntry>,
    /// All homes; partition p lives in home p / geometry.partitions.
    pub homes: Vec<HomeEntry>,
    /// Where coordinators listen, in order; empty in a static cluster.
    pub coordinators: Vec<String>,
    /// Fewest members of a home that clients write to.
    pub write_floor: u8,
}

/// Sizes that an operator chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Redundancy.
    pub policy: Policy,
    /// Keys to lay the index out for.
    pub max_keys: u64,
    /// Bytes of a block.
    pub block_len: u64,
    /// Bytes of an extent.
    pub extent_len: u64,
}

impl Sizes {
    /// The geometry of `homes` homes on nodes that hold `segments` segments each in `memory_len` bytes.
    ///
    /// # Errors
    /// They do not fit together.
    pub fn geometry(&self, homes: usize, segments: u64, memory_len: u64) -> Result<Geometry, GeometryError> {
        let segment_len = memory_len.saturating_sub(Superblock::SPACE) / segments / 4096 * 4096;
        // Homes get uneven shares of the keys: room for an eighth more.
        let keys = self.max_keys.div_ceil(homes as u64);
        let geometry = Geometry {
            policy: self.policy,
            segment_len,
            partitions: 1,
            groups: Geometry::groups_for(keys + keys / 8 + 16),
            block_len: self.block_len,
            extent_len: self.extent_len,
        };
        Plan::new(geometry).map(|_| geometry)
    }
}

/// What an operator chooses of a cluster; the same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The cluster's name.
    pub name: String,
    /// Which protocol replicates slots.
    pub commit: CommitKind,
    /// Redundancy.
    pub policy: Policy,
    /// Control addresses of all nodes, in the same order everywhere.
    pub nodes: Vec<String>,
    /// Homes of which each node is the primary.
    pub homes_per_node: u16,
    /// Keys to lay the index out for.
    pub max_keys: u64,
    /// Bytes of memory of each node.
    pub memory_len: u64,
    /// Bytes of a block.
    pub block_len: u64,
    /// Bytes of an extent.
    pub extent_len: u64,
}

/// Why no map can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Fewer nodes than copies.
    #[error("policy {policy} needs {} nodes, but the cluster has {nodes}: add nodes to cluster.nodes or keep fewer copies", .policy.copies())]
    TooFewNodes {
        /// As given.
        policy: Policy,
        /// As given.
        nodes: usize,
    },
    /// More homes than can be numbered.
    #[error("{0} homes are too many (at most 65535): lower cluster.homes_per_node")]
    TooManyHomes(usize),
    /// Sizes that do not fit together.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

impl NodeEntry {
    /// A node that a configuration names.
    pub fn listed(id: NodeId, address: &str) -> NodeEntry {
        let (address, domain) = (address.to_owned(), host_of(address).to_owned());
        NodeEntry { id, address, incarnation: Incarnation(0), domain, standing: Standing::Up }
    }

    /// Whether it is there, as far as anybody has decided.
    pub fn is_up(&self) -> bool {
        self.standing == Standing::Up
    }
}

impl HomeEntry {
    /// Whether `node` is one of its members.
    pub fn has_member(&self, node: NodeId) -> bool {
        self.members.iter().any(|member| member.node == node)
    }
}

impl ClusterMap {
    /// Whether members are those of the configuration, for ever: nobody decides about them.
    pub fn is_static(&self) -> bool {
        self.coordinators.is_empty()
    }

    /// The node of that number, if there ever was one.
    pub fn node(&self, id: NodeId) -> Option<&NodeEntry> {
        self.nodes.get(usize::from(id.0))
    }

    /// Copies that the policy wants and that `home` has not.
    pub fn missing(&self, home: &HomeEntry) -> usize {
        self.geometry.policy.copies().saturating_sub(home.members.len())
    }

    /// The map of a cluster whose members are listed in its configuration: the same on every node that has the same list.
    pub fn of(shape: &Shape) -> Result<ClusterMap, MapError> {
        let copies = shape.policy.copies();
        if shape.nodes.len() < copies {
            return Err(MapError::TooFewNodes { policy: shape.policy, nodes: shape.nodes.len() });
        }
        let homes = placement::homes(shape.nodes.len(), copies, shape.homes_per_node.into());
        if homes.len() > usize::from(u16::MAX) {
            return Err(MapError::TooManyHomes(homes.len()));
        }
        let segments = u64::from(shape.homes_per_node) * copies as u64;
        let sizes = Sizes {
            policy: shape.policy,
            max_keys: shape.max_keys,
            block_len: shape.block_len,
            extent_len: shape.extent_len,
        };
        let geometry = sizes.geometry(homes.len(), segments, shape.memory_len)?;
        let nodes = shape.nodes.iter().enumerate();
        Ok(ClusterMap {
            name: shape.name.clone(),
            epoch: Epoch(1),
            commit: shape.commit,
            geometry,
            nodes: nodes.map(|(i, address)| NodeEntry::listed(NodeId(i as u16), address)).collect(),
            homes,
            coordinators: Vec::new(),
            write_floor: 1,
        })
    }

    /// A number that stands for the cluster's name, as the superblock holds it.
    pub fn cluster_id(&self) -> u64 {
        KeyHash::of(self.name.as_bytes()).raw() as u64
    }

    /// Offsets of everything.
    ///
    /// # Errors
    /// A map from another process may hold anything.
    pub fn plan(&self) -> Result<Plan, GeometryError> {
        Plan::new(self.geometry)
    }

    /// Partitions of the whole index.
    pub fn partitions(&self) -> u32 {
        self.homes.len() as u32 * self.geometry.partitions
    }

    /// The home of a key, and the partition within that home's segments.
    pub fn route(&self, hash: KeyHash) -> (HomeId, u32) {
        let PartitionId(p) = PartitionId(hash.partition(self.partitions()));
        (HomeId((p / self.geometry.partitions) as u16), p % self.geometry.partitions)
    }

    /// Why a map that came over the wire cannot be used; `None` when it can.
    pub fn defect(&self) -> Option<String> {
        // First: sizes are chosen with the homes.
        if self.homes.is_empty() {
            return Some("it has no homes: the cluster waits for its nodes".into());
        }
        let plan = match self.plan() {
            Ok(plan) => plan,
            Err(e) => return Some(e.to_string()),
        };
        let copies = self.geometry.policy.copies();
        for (i, node) in self.nodes.iter().enumerate() {
            if usize::from(node.id.0) != i {
                return Some(format!("node {i} calls itself {}", node.id));
            }
        }
        for (i, home) in self.homes.iter().enumerate() {
            let mut nodes: Vec<_> = home.members.iter().map(|m| m.node).collect();
            nodes.sort();
            nodes.dedup();
            let count = home.members.len();
            let is_whole = count == copies || !self.is_static() && count < copies;
            if usize::from(home.id.0) != i || !is_whole || nodes.len() != count || home.epoch > self.epoch {
                return Some(format!("home {i} is malformed"));
            }
            if nodes.iter().any(|n| usize::from(n.0) >= self.nodes.len()) {
                return Some(format!("home {i} names a node that is not in the map"));
            }
            if home.members.iter().any(|m| plan.memory_for(m.segment.saturating_add(1)) > 1 << 50) {
                return Some(format!("home {i} lies outside of any memory"));
            }
        }
        None
    }

    /// In words, what differs between two nodes' maps; `None` when they are the same.
    pub fn difference(&self, other: &ClusterMap) -> Option<String> {
        let differs =
            |what: &str, a: &dyn fmt::Debug, b: &dyn fmt::Debug| Some(format!("{what}: {a:?} against {b:?}"));
        if self.name != other.name {
            return differs("cluster.name", &self.name, &other.name);
        }
        if !self.is_static() && self.coordinators == other.coordinators {
            // Members and epochs change all the time: whoever is behind will hear of it.
            return (self.geometry != other.geometry).then(|| "policy or sizes".to_owned());
        }
        if self.nodes != other.nodes {
            let list = |m: &ClusterMap| m.nodes.iter().map(|n| n.address.clone()).collect::<Vec<_>>();
            return differs("cluster.nodes", &list(self), &list(other));
        }
        if self.commit != other.commit {
            return differs("cluster.commit", &self.commit, &other.commit);
        }
        if self.geometry != other.geometry {
            return differs("policy or sizes", &self.geometry, &other.geometry);
        }
        if self.coordinators != other.coordinators {
            return differs("cluster.coordinators", &self.coordinators, &other.coordinators);
        }
        if self.epoch != other.epoch {
            return differs("epoch", &self.epoch, &other.epoch);
        }
        (self.homes != other.homes).then(|| "the placement of homes (cluster.homes_per_node?)".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn shape(nodes: usize, copies: u8) -> Shape {
        Shape {
            name: "test".into(),
            commit: CommitKind::Colocated,
            policy: Policy::Replicate { copies },
            nodes: (0..nodes).map(|i| format!("127.0.0.1:{}", 7400 + i)).collect(),
            homes_per_node: 2,
            max_keys: 10_000,
            memory_len: 64 << 20,
            block_len: 256 << 10,
            extent_len: 64 << 10,
        }
    }

    #[test]
    fn every_segment_is_used_once() {
        for nodes in 1..8 {
            for copies in 1..=nodes.min(4) as u8 {
                let map = ClusterMap::of(&shape(nodes, copies)).unwrap();
                assert_eq!(map.defect(), None);
                let mut segments: Vec<_> =
                    map.homes.iter().flat_map(|h| h.members.iter().map(|m| (m.node, m.segment))).collect();
                segments.sort();
                let expected: Vec<_> = (0..nodes as u16)
                    .flat_map(|n| (0..2 * copies as u32).map(move |s| (NodeId(n), s)))
                    .collect();
                assert_eq!(segments, expected);
            }
        }
    }

    #[test]
    fn differences_are_named() {
        let map = ClusterMap::of(&shape(3, 3)).unwrap();
        let mut other = map.clone();
        other.name = "else".into();
        assert!(map.difference(&other).unwrap().contains("cluster.name"));
        assert_eq!(map.difference(&map.clone()), None);
    }

    #[test]
    fn hostile_maps_are_refused() {
        let good = ClusterMap::of(&shape(3, 3)).unwrap();
        let spoil: [fn(&mut ClusterMap); 6] = [
            |m| m.homes.clear(),
            |m| m.homes[0].members[1] = m.homes[0].members[0],
            |m| m.homes[0].members[0].node = NodeId(9),
            |m| m.nodes[1].id = NodeId(0),
            |m| m.geometry.block_len = 3,
            |m| m.homes[1].members[0].segment = u32::MAX,
        ];
        for (i, spoil) in spoil.iter().enumerate() {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(bad.defect().is_some(), "spoil {i}");
        }
    }

    #[test]
    fn too_few_nodes_are_said() {
        assert!(matches!(ClusterMap::of(&shape(2, 3)), Err(MapError::TooFewNodes { nodes: 2, .. })));
    }
}
