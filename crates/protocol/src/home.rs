//! A home: the nodes that hold a partition's slots and the values they name.

use farrow_fabric::Link;
use farrow_layout::{Epoch, HomeId, NodeId, SegmentPlan};

/// One replica of a home, as a client reaches it.
#[derive(Clone, Debug)]
pub struct Member<L> {
    /// The link to its node.
    pub link: L,
    /// Where the home's segment lies in that node's memory.
    pub segment: SegmentPlan,
}

/// The live members of a home in an epoch: its view.
#[derive(Clone, Debug)]
pub struct Home<L> {
    id: HomeId,
    epoch: Epoch,
    is_open: bool,
    members: Vec<Member<L>>,
}

impl<L: Link> Home<L> {
    /// A view: the primary first, then the backups in order.
    ///
    /// # Panics
    /// If `members` is empty.
    pub fn new(id: HomeId, members: Vec<Member<L>>) -> Home<L> {
        assert!(!members.is_empty(), "home {id} has no member left");
        Home { id, epoch: Epoch(0), is_open: true, members }
    }

    /// The same view, as of `epoch`.
    pub fn of_epoch(self, epoch: Epoch) -> Home<L> {
        Home { epoch, ..self }
    }

    /// The same view while it is closed: what is committed may be read, and nothing changed.
    pub fn closed(self) -> Home<L> {
        Home { is_open: false, ..self }
    }

    /// Whether anything may be changed in it.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The epoch in which this is the view.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The home.
    pub fn id(&self) -> HomeId {
        self.id
    }

    /// The member that decides.
    pub fn primary(&self) -> &Member<L> {
        &self.members[0]
    }

    /// The others, in order.
    pub fn backups(&self) -> &[Member<L>] {
        &self.members[1..]
    }

    /// All, the primary first.
    pub fn members(&self) -> &[Member<L>] {
        &self.members
    }

    /// The nodes, the primary first.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().map(|m| m.link.node())
    }
}
