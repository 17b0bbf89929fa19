//! Which nodes hold which home: a pure function of the number of nodes and of what they fail together with.

use crate::map::{HomeEntry, MemberEntry};
use farrow_layout::{Epoch, HomeId, NodeId};
use std::collections::BTreeSet;

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

/// Homes of the nodes whose failure domains are given, numbered as they stand there. A home's members are in different
/// domains where there are enough of them: then nodes of a small domain hold more segments than others. With a domain
/// for every node it is [`homes`].
pub fn homes_over(domains: &[&str], copies: usize, per_node: usize) -> Vec<HomeEntry> {
    let nodes = domains.len();
    if domains.iter().collect::<BTreeSet<_>>().len() == nodes {
        return homes(nodes, copies, per_node);
    }
    assert!(copies >= 1 && copies <= nodes, "{copies} copies on {nodes} nodes");
    let mut next_segment = vec![0u32; nodes];
    let mut backups_held = vec![0u32; nodes];
    let mut homes = Vec::with_capacity(nodes * per_node);
    for _ in 0..per_node {
        for primary in 0..nodes {
            let mut chosen = vec![primary];
            while chosen.len() < copies {
                let backup = (1..nodes)
                    .map(|step| (primary + step) % nodes)
                    .filter(|node| !chosen.contains(node))
                    .min_by_key(|&node| (shares(domains, &chosen, node), backups_held[node]))
                    .expect("there are at least as many nodes as copies");
                backups_held[backup] += 1;
                chosen.push(backup);
            }
            let members = chosen.into_iter().map(|node| {
                let segment = next_segment[node];
                next_segment[node] += 1;
                MemberEntry { node: NodeId(node as u16), segment }
            });
            let id = HomeId(homes.len() as u16);
            homes.push(HomeEntry { id, members: members.collect(), epoch: Epoch(1), is_open: true });
        }
    }
    homes
}

/// How many of the chosen ones fail together with `node`.
fn shares(domains: &[&str], chosen: &[usize], node: usize) -> usize {
    chosen.iter().filter(|&&other| domains[other] == domains[node]).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn members_are_in_different_domains_where_there_are_enough(
            domains in prop::collection::vec(0u8..5, 1..12), copies in 1usize..5, per_node in 1usize..5,
        ) {
            let copies = copies.min(domains.len());
            let names: Vec<_> = domains.iter().map(|d| format!("rack-{d}")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let there = names.iter().collect::<BTreeSet<_>>().len();
            let homes = homes_over(&names, copies, per_node);
            prop_assert_eq!(homes.len(), names.len() * per_node);
            let mut segments = BTreeSet::new();
            for (i, home) in homes.iter().enumerate() {
                prop_assert_eq!(usize::from(home.members[0].node.0), i % names.len());
                let members: BTreeSet<_> = home.members.iter().map(|m| m.node).collect();
                prop_assert_eq!(members.len(), copies);
                let used: BTreeSet<_> = members.iter().map(|m| names[usize::from(m.0)]).collect();
                prop_assert_eq!(used.len(), copies.min(there));
                prop_assert!(home.members.iter().all(|m| segments.insert((m.node, m.segment))));
            }
        }
    }

    #[test]
    fn racks_of_equal_size_share_the_backups_evenly() {
        for per_node in 1..5 {
            let homes = homes_over(&["a", "a", "b", "b", "c", "c"], 3, per_node);
            let mut load = [0; 6];
            homes.iter().flat_map(|h| &h.members).for_each(|m| load[usize::from(m.node.0)] += 1);
            assert!(load.iter().all(|&l| l == 3 * per_node), "{load:?}");
        }
    }

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
