//! What a client needs of the outside to stay in touch with its cluster.

use farrow_control::coordination::Decision;
use farrow_control::map::ClusterMap;
use farrow_fabric::Fabric;
use farrow_layout::{ClientId, Epoch, NodeId};
use std::pin::Pin;
use std::sync::Arc;

/// Something that will be known later. It goes on by itself or lies still when nobody polls it, and may be dropped.
pub type Waiting<T> = Pin<Box<dyn Future<Output = T>>>;

/// A link on its way, with the node's epoch that it belongs to.
pub type Linking<L> = Waiting<Result<(L, Epoch), LinkError>>;

/// One client's ways to the nodes and to whoever decides about them: sessions and threads, or a simulated control plane.
pub trait Routes<F: Fabric>: 'static {
    /// The client's present id.
    fn id(&self) -> ClientId;

    /// The latest map that is known. Cheap, but not free: not for every operation.
    fn map(&self) -> Arc<ClusterMap>;

    /// Ends when a map later than `epoch` is known; never in a static cluster.
    fn newer_than(&self, epoch: Epoch) -> Waiting<()>;

    /// A link to `node` made anew, under the present id. When it is there, nothing that was posted on an earlier link of this
    /// client to the node will execute any more, whatever its id was then.
    fn link(&self, node: NodeId) -> Linking<F::Link>;

    /// Says that `node` cannot be reached, `for_ns` after it was said first without its having been reached since, and ends with what
    /// becomes of it. In a static cluster that is
    /// [`Decision::YourWay`], and while no coordinator answers [`Decision::Undecided`].
    fn report(&self, node: NodeId, for_ns: u64, why: String) -> Waiting<Decision>;

    /// Takes another id in place of `old`, which was taken for lost; done at once if that has happened already.
    fn rename(&self, old: ClientId) -> Waiting<Result<(), String>>;
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The node does not answer, or does not want to.
    #[error("{0}")]
    Unreachable(String),
    /// The client's id was taken for lost: it needs another.
    #[error("this client was taken for lost, and evicted")]
    Evicted,
}
