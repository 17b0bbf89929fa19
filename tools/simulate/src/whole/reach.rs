//! Who can still reach whom: what faults took away, as the table of legal errors needs to know it.

use farrow_layout::{ClientId, HomeId, NodeId};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What is lost so far. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Reach(Rc<RefCell<Lost>>);

#[derive(Default)]
struct Lost {
    nodes: BTreeSet<NodeId>,
    links: BTreeSet<(ClientId, NodeId)>,
    sessions: BTreeSet<(ClientId, NodeId)>,
    full: BTreeSet<(ClientId, HomeId)>,
    rotten: BTreeSet<HomeId>,
    /// Homes in which something was begun that nobody will end.
    broken: BTreeSet<HomeId>,
    stopped: BTreeSet<ClientId>,
}

impl Reach {
    pub(super) fn lose_node(&self, node: NodeId) {
        self.0.borrow_mut().nodes.insert(node);
    }

    pub(super) fn lose_link(&self, client: ClientId, node: NodeId) {
        self.0.borrow_mut().links.insert((client, node));
    }

    pub(super) fn lose_session(&self, client: ClientId, node: NodeId) {
        self.0.borrow_mut().sessions.insert((client, node));
    }

    /// A node has told a client that a home has no room left.
    pub(super) fn note_full(&self, client: ClientId, home: HomeId) {
        self.0.borrow_mut().full.insert((client, home));
    }

    /// Every copy of some entry of a home has rotted.
    pub(super) fn note_rotten(&self, home: HomeId) {
        self.0.borrow_mut().rotten.insert(home);
    }

    /// A change in a home was begun, and perhaps not ended.
    pub(super) fn note_broken(&self, home: HomeId) {
        self.0.borrow_mut().broken.insert(home);
    }

    pub(super) fn note_stopped(&self, client: ClientId) {
        self.0.borrow_mut().stopped.insert(client);
    }

    pub(super) fn has_stopped(&self, client: ClientId) -> bool {
        self.0.borrow().stopped.contains(&client)
    }

    /// Whether somebody may have begun something in a home that nobody will end.
    pub(super) fn is_broken(&self, home: HomeId) -> bool {
        let lost = self.0.borrow();
        lost.broken.contains(&home) || !lost.stopped.is_empty()
    }

    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        !self.0.borrow().nodes.contains(&node)
    }

    /// Whether a client's link to a node has worked all the time; one that was made anew has left doubts.
    pub(super) fn has_link(&self, client: ClientId, node: NodeId) -> bool {
        self.is_alive(node) && !self.0.borrow().links.contains(&(client, node))
    }

    /// Whether a client can ask a node for something.
    pub(super) fn has_session(&self, client: ClientId, node: NodeId) -> bool {
        self.is_alive(node) && !self.0.borrow().sessions.contains(&(client, node))
    }

    pub(super) fn was_told_full(&self, client: ClientId, home: HomeId) -> bool {
        self.0.borrow().full.contains(&(client, home))
    }

    pub(super) fn is_rotten(&self, home: HomeId) -> bool {
        self.0.borrow().rotten.contains(&home)
    }
}
