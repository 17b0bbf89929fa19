//! The nodes that hold homes together with this one, and what they promise it.

use crate::lease::{has_closed_home, peers_of};
use crate::service::Service;
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
        if map.epoch < service.links().epoch()
            || has_closed_home(&map, service.node(), |home| service.is_set_aside(home))
        {
            // A view is changing, and with it who the peers are.
            return false;
        }
        let all = peers_of(&map, service.node());
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
