//! Which nodes hold which home: a pure function of the number of nodes.

use crate::map::{HomeEntry, MemberEntry};
use farrow_layout::{Epoch, HomeId, NodeId};

/// Homes of `nodes` nodes with `copies` members each; every node is the primary of `per_node` of them and holds equally
/// many segments. Backups rotate, so that a lost node's work spreads over more than its neighbours.
pub fn homes(nodes: usize, copies: usize, per_node: usize) -> Vec<HomeEntry> {
    assert!(copies >= 1 && copies <= nodes, "{copies} copies on {nodes} nodes");
    let mut next_segment = vec![0u32; nodes];
    let mut homes = Vec::with_capacity(nodes * per_node);
    for round in 0..per_node {
        for primary in 0..nodes {
            let others = nodes - 1;
            let backups =
                (0..copies - 1).map(|r| (primary + 1 + (round * (copies - 1) + r) % others) % nodes);
            let members = std::iter::once(primary)
                .chain(backups)
                .map(|node| {
                    let segment = next_segment[node];
                    next_segment[node] += 1;
                    MemberEntry { node: NodeId(node as u16), segment }
                })
                .collect();
            let id = HomeId(homes.len() as u16);
            homes.push(HomeEntry { id, members, epoch: Epoch(1), is_open: true });
        }
    }
    homes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_distinct_and_load_is_even() {
        for nodes in 1..9 {
            for copies in 1..=nodes {
                for per_node in 1..5 {
                    let homes = homes(nodes, copies, per_node);
                    assert_eq!(homes.len(), nodes * per_node);
                    let mut load = vec![0; nodes];
                    for home in &homes {
                        let mut members: Vec<_> = home.members.iter().map(|m| m.node.0).collect();
                        members.iter().for_each(|n| load[usize::from(*n)] += 1);
                        members.sort_unstable();
                        members.dedup();
                        assert_eq!(members.len(), copies);
                    }
                    assert!(
                        load.iter().all(|&l| l == per_node * copies),
                        "{nodes} {copies} {per_node}: {load:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_nodes_backups_spread_over_the_others() {
        let homes = homes(5, 3, 2);
        let mut backups: Vec<_> = homes
            .iter()
            .filter(|h| h.members[0].node == NodeId(0))
            .flat_map(|h| h.members[1..].iter().map(|m| m.node.0))
            .collect();
        backups.sort_unstable();
        assert_eq!(backups, [1, 2, 3, 4]);
    }
}
