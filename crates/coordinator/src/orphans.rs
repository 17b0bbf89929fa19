//! Owners of open extents who are nobody's clients any more: each is cleaned up behind like one that is lost.
//!
//! Clients are lost, leave and are forgotten one way; extents are granted, announced and adopted by new primaries another way.
//! Wherever the two miss each other, an extent is left open whose owner nobody would ever look after. Its primary names it.

use crate::{Coordinator, Instant};
use farrow_control::coordination::{MAX_ORPHANS, Task};
use farrow_layout::{ClientId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// What primaries have said of owners that are not known here.
#[derive(Debug, Default)]
pub(crate) struct Orphans(BTreeMap<(NodeId, ClientId), Named>);

/// An owner that a node has named in each of its latest renewals.
#[derive(Clone, Copy, Debug)]
struct Named {
    first: Instant,
    last: Instant,
}

impl Orphans {
    /// A node names owners, all that it has to name just now.
    fn note(&mut self, now: Instant, node: NodeId, named: &BTreeSet<ClientId>) {
        self.0.retain(|(by, client), _| *by != node || named.contains(client));
        for client in named {
            self.0.entry((node, *client)).or_insert(Named { first: now, last: now }).last = now;
        }
    }

    /// Those that some node has gone on naming for at least `for_ns`.
    fn lasting(&self, for_ns: u64) -> BTreeSet<ClientId> {
        let lasting = self.0.iter().filter(|(_, named)| named.last.since(named.first) >= for_ns);
        lasting.map(|((_, client), _)| *client).collect()
    }

    fn retain(&mut self, is_kept: impl Fn(NodeId, ClientId) -> bool) {
        self.0.retain(|(node, client), _| is_kept(*node, *client));
    }

    /// What was named before says nothing any more.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Coordinator {
    /// A node says who has extents open at homes of which it is the primary and has not joined there.
    pub(crate) fn note_orphans(&mut self, now: Instant, node: NodeId, named: &[ClientId]) {
        let named = named.iter().copied().take(MAX_ORPHANS).filter(|client| self.is_orphan(*client));
        let named: BTreeSet<ClientId> = named.collect();
        self.orphans.note(now, node, &named);
    }

    /// Whether a client is nobody's. An id is a client's from before anybody is told of it, in the state that is stored, until it
    /// has left or was cleaned up behind, and is never given again: so a client that has still to join anywhere is none, and whoever
    /// is one stays one. Of an id that was never given nothing is known.
    fn is_orphan(&self, client: ClientId) -> bool {
        let was_given = (1..self.state.next_client).contains(&client.0);
        was_given && !self.state.clients.contains_key(&client) && !self.is_recovered(client)
    }

    /// Orders to clean up behind owners that a primary has gone on naming for a lease: what a client that left was still sealing is sealed
    /// by then, and what was named before the last recovery ended is named no more.
    pub(crate) fn plan_orphans(&mut self) {
        let lasting = self.orphans.lasting(self.settings.lease_ns);
        for client in lasting.into_iter().filter(|client| self.is_orphan(*client)).collect::<Vec<_>>() {
            self.state_mut().add_order(Task::RecoverClient { client });
        }
        let (map, mut orphans) = (&self.state.map, std::mem::take(&mut self.orphans));
        let is_up = |node: NodeId| map.node(node).is_some_and(|entry| entry.is_up());
        orphans.retain(|node, client| is_up(node) && self.is_orphan(client));
        self.orphans = orphans;
    }
}
