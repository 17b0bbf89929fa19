//! Where a coordinator's state outlives it, and who of several decides.

mod etcd;
mod file;
mod text;

pub use etcd::EtcdStore;
pub use file::FileStore;

use crate::State;
use std::time::Duration;

/// Where the state is kept. Whoever leads is the only one that can write it.
pub trait Store: Send {
    /// Where that is, for people.
    fn describe(&self) -> String;

    /// Tries to become the one that leads, and tells others that it is dialled at `advertised`. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when trying again is of no use; otherwise [`StoreError::Failed`].
    fn campaign(&mut self, advertised: &str) -> Result<Campaign, StoreError>;

    /// Stays the one that leads, from before the call for so long; without an end when nobody else can. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Deposed`]: it is over already. [`StoreError::Failed`]: it is not known, so what was said last holds.
    fn keep(&mut self) -> Result<Option<Duration>, StoreError>;

    /// Replaces the state. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Deposed`]: nothing was stored, another one leads. [`StoreError::Failed`]: the state or the one before is
    /// there, and a later call decides it.
    fn store(&mut self, state: &State) -> Result<(), StoreError>;

    /// Leads no longer; somebody else may at once.
    fn resign(&mut self);
}

/// Who leads.
#[derive(Clone, Debug, PartialEq)]
pub enum Campaign {
    /// This one, with the state that there is; none for a new cluster.
    Leads(Option<Box<State>>),
    /// Another one, at this address if it is known.
    Follows(Option<String>),
}

/// Why a state could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another coordinator leads by now.
    #[error("another coordinator leads by now")]
    Deposed,
    /// It may work later.
    #[error("{0}")]
    Failed(String),
    /// It never will until somebody does something about it.
    #[error("{0}")]
    Unusable(String),
}
