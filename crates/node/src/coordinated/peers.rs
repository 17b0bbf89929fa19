//! The nodes that hold homes together with this one, and what they promise it.

use crate::service::Service;
use farrow_control::map::ClusterMap;
use farrow_control::message::{Reply, Request};
use farrow_layout::NodeId;
use farrow_transport::{DialOptions, Session};
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// Sessions with the peers, made when they are needed.
pub(crate) struct Peers {
    dial: DialOptions,
    sessions: BTreeMap<NodeId, Session>,
}

impl Peers {
    pub(crate) fn new(dial: DialOptions) -> Peers {
        Peers { dial, sessions: BTreeMap::new() }
    }

    /// Whether every peer sees to it that nobody goes on without this node for a lease from now.
    pub(crate) fn promise(&mut self, service: &Service, lease: Duration) -> bool {
        let map = service.latest();
        if map.epoch < service.links().epoch() || has_closed_home(&map, service.node()) {
            // A view is changing, and with it who the peers are.
            return false;
        }
        let all = of(&map, service.node());
        let request = Request::Promise {
            node: service.node(),
            incarnation: service.incarnation(),
            for_ms: lease.as_millis() as u64,
        };
        let (dial, sessions) = (&self.dial, &mut self.sessions);
        let ask = |node: NodeId, session: Option<Session>| {
            let dialled = || Session::dial_control(&map.node(node)?.address, dial).ok();
            let session = session.or_else(dialled)?;
            session.set_patience(lease / 4);
            matches!(session.call(&request), Ok(Reply::Promised)).then_some((node, session))
        };
        let ask = &ask;
        let promised: Vec<Option<(NodeId, Session)>> = thread::scope(|scope| {
            let asked = all.iter().map(|node| {
                let session = sessions.remove(node);
                scope.spawn(move || ask(*node, session))
            });
            let asked: Vec<_> = asked.collect();
            asked.into_iter().map(|asked| asked.join().expect("asking does not panic")).collect()
        });
        let is_promised = promised.iter().all(Option::is_some);
        sessions.extend(promised.into_iter().flatten());
        is_promised
    }
}

/// All other live members of the homes of `node`.
fn of(map: &ClusterMap, node: NodeId) -> Vec<NodeId> {
    let homes = map.homes.iter().filter(|home| home.has_member(node));
    let mut peers: Vec<NodeId> = homes.flat_map(|home| home.members.iter().map(|m| m.node)).collect();
    peers.sort_unstable();
    peers.dedup();
    peers.retain(|peer| *peer != node);
    peers
}

fn has_closed_home(map: &ClusterMap, node: NodeId) -> bool {
    map.homes.iter().any(|home| home.has_member(node) && !home.is_open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_control::map::{CommitKind, Shape};
    use farrow_layout::Policy;

    #[test]
    fn peers_are_those_who_share_a_home() {
        let mut map = ClusterMap::of(&Shape {
            name: "test".into(),
            commit: CommitKind::Colocated,
            policy: Policy::Replicate { copies: 2 },
            nodes: (0..4).map(|i| format!("127.0.0.1:{}", 7400 + i)).collect(),
            homes_per_node: 1,
            max_keys: 1000,
            memory_len: 64 << 20,
            block_len: 256 << 10,
            extent_len: 64 << 10,
        })
        .unwrap();
        assert_eq!(of(&map, NodeId(1)), [NodeId(0), NodeId(2)]);
        map.homes[1].members.truncate(1);
        assert_eq!(of(&map, NodeId(1)), [NodeId(0)], "a member that is gone has nothing to promise");
        assert!(!has_closed_home(&map, NodeId(1)));
        map.homes[1].is_open = false;
        assert!(has_closed_home(&map, NodeId(1)) && !has_closed_home(&map, NodeId(3)));
        map.homes.truncate(2);
        assert!(of(&map, NodeId(3)).is_empty(), "a spare has none");
    }
}
