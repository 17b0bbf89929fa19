//! Where an agent sits: its fabric, its link, and what the clauses do with them.

use super::{Agent, Controls, Local};
use crate::{Answers, Buffer, Chain, Effect, Fabric, Link, VerbError};
use farrow_layout::RemoteAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

/// One agent's fabric and link.
pub struct Seat<F: Fabric> {
    /// Its own fabric.
    pub fabric: F,
    /// Its own link to the memory.
    pub link: F::Link,
    /// What else it can do.
    pub controls: Box<dyn Controls<F>>,
}

/// Boxes an agent.
pub(super) fn agent<F: Fabric, T: Future<Output = ()> + 'static>(
    run: impl FnOnce(Seat<F>) -> T + Send + 'static,
) -> Agent<F> {
    Box::new(move |seat| -> Local<()> { Box::pin(run(seat)) })
}

pub(super) fn addr(at: u64) -> RemoteAddr {
    RemoteAddr(at)
}

impl<F: Fabric> Seat<F> {
    /// Posts a chain that must succeed.
    pub(super) async fn ok(&self, chain: Chain) -> Answers {
        must(&self.link, chain).await
    }

    pub(super) async fn word(&self, at: u64) -> u64 {
        self.ok(Chain::new().read_word(addr(at))).await[0]
    }

    pub(super) fn buffer(&self, len: usize) -> Buffer {
        self.fabric.buffers().take(len).expect("the suite needs few buffers")
    }

    pub(super) fn filled(&self, bytes: &[u8]) -> Buffer {
        let buffer = self.buffer(bytes.len());
        buffer.with_mut(|b| b.copy_from_slice(bytes));
        buffer
    }

    /// A buffer of `len` bytes that all are `byte`.
    pub(super) fn pattern(&self, byte: u8, len: usize) -> Buffer {
        self.filled(&vec![byte; len])
    }

    pub(super) async fn read(&self, at: u64, len: usize) -> Vec<u8> {
        read(&self.fabric, &self.link, at, len).await
    }

    pub(super) async fn write(&self, at: u64, bytes: &[u8]) {
        self.ok(Chain::new().write(addr(at), self.filled(bytes).whole())).await;
    }

    /// Lets others of this thread run, and lets a world whose completions are there at once stop the agent.
    pub(super) async fn breathe(&self) {
        let mut has_yielded = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut has_yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Waits for `ns` nanoseconds of the fabric's time.
    pub(super) async fn pause(&self, ns: u64) {
        self.fabric.sleep_until(self.fabric.now() + Duration::from_nanos(ns)).await;
    }

    /// Waits until `agents` have arrived, so that they start together.
    pub(super) async fn assemble(&self, arrived: &AtomicU64, agents: u64) {
        arrived.fetch_add(1, Ordering::SeqCst);
        while arrived.load(Ordering::SeqCst) < agents {
            self.breathe().await;
        }
    }

    /// Waits until `flag`, which agents share outside of the fabric, is at least `value`.
    pub(super) async fn wait_for(&self, flag: &AtomicU64, value: u64) {
        while flag.load(Ordering::SeqCst) < value {
            self.pause(1_000).await;
        }
    }
}

pub(super) async fn must<L: Link>(link: &L, chain: Chain) -> Answers {
    match link.post(chain.clone()).await {
        Ok(answers) => answers,
        Err(error) => panic!("{chain:?} failed: {error}"),
    }
}

pub(super) async fn read<F: Fabric>(fabric: &F, link: &F::Link, at: u64, len: usize) -> Vec<u8> {
    let buffer = fabric.buffers().take(len).expect("the suite needs few buffers");
    must(link, Chain::new().read(addr(at), buffer.whole())).await;
    buffer.to_vec()
}

/// Asserts that `link` is down: it says so, and refuses another chain without executing it.
pub(super) async fn assert_down<L: Link>(link: &L) {
    assert!(!link.is_up(), "a failed link is not up");
    let error: VerbError =
        link.post(Chain::new().read_word(addr(0))).await.expect_err("a failed link stays down");
    assert_eq!(error.effect, Effect::None, "a link that is down executes nothing: {error}");
    assert_eq!(error.node, link.node());
}

/// The words of `bytes`, whose first byte lies at a multiple of 8.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes")))
}
