//! What the load loop asks of a store, so that Farrow and its peers are measured by one harness.

use crate::workload::key::Key;
use farrow_fabric::Cost;
use std::time::{Duration, Instant};

/// One thread's connection to a store.
pub(crate) trait Store {
    /// A value as the store hands it out.
    type Value: Look;

    /// Runs a future to its end on this thread.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;

    /// Runs operations that are in flight together.
    fn together<T>(&self, futures: impl Future<Output = T>) -> impl Future<Output = T>;

    async fn get(&self, key: &[u8]) -> (Result<Option<Self::Value>, Failed>, Cost);

    /// Puts whatever was there before.
    async fn put(&self, key: &[u8], value: &[u8]) -> (Result<(), Failed>, Cost);

    /// Whether the key was there.
    async fn delete(&self, key: &[u8]) -> (Result<bool, Failed>, Cost);

    /// Puts many at once, as quickly as the store can.
    async fn load(&self, pairs: &[(Key, Vec<u8>)]) -> Result<(), Failed>;

    /// Waits until `at`, to the microsecond.
    async fn wait_until(&self, at: Instant);

    /// Tells the store what it is to know before its memory is counted.
    async fn tell(&self) {}

    fn counters(&self) -> Counters;
}

/// Makes connections, one for each thread.
pub(crate) trait Stores: Sync {
    type Store: Store;

    fn open(&self) -> anyhow::Result<Self::Store>;
}

/// Bytes that can be looked at.
pub(crate) trait Look {
    fn look<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T;
}

/// An operation without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    /// The error's name.
    pub(crate) label: &'static str,
    pub(crate) why: String,
}

/// What a connection counts beside the costs of operations.
pub(crate) type Counters = farrow_client::Stats;

/// Sleeping is coarser than this; the rest is waited for busily.
pub(crate) const NAP: Duration = Duration::from_micros(150);

/// Lets the other operations of the thread go on.
pub(crate) async fn give_way() {
    let mut has_yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
