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

    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        !self.0.borrow().nodes.contains(&node)
    }

    /// Whether a client's link to a node works.
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
