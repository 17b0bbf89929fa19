//! Holding doorbells back, so that a batch rings once per link.

use crate::Fabric;
use std::pin::Pin;
use std::task::{Context, Poll};

/// While it lives, chains are posted without a doorbell; dropping it rings once per link.
pub struct Cork<'a, F: Fabric>(&'a F);

impl<'a, F: Fabric> Cork<'a, F> {
    /// Corks `fabric` until the guard is dropped.
    pub fn new(fabric: &'a F) -> Self {
        fabric.cork();
        Cork(fabric)
    }
}

impl<F: Fabric> Drop for Cork<'_, F> {
    fn drop(&mut self) {
        self.0.uncork();
    }
}

/// Runs `inner` so that whatever it posts within one poll rings one doorbell per link.
///
/// Around a [`crate::join_all`] of operations this turns the first phase of all of them into one doorbell per link, the
/// second into another, and so on.
pub fn corked<F: Fabric, T: Future>(fabric: F, inner: T) -> impl Future<Output = T::Output> {
    Corked { fabric, inner: Box::pin(inner) }
}

struct Corked<F, T> {
    fabric: F,
    inner: Pin<Box<T>>,
}

impl<F: Fabric, T: Future> Future for Corked<F, T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        let Corked { fabric, inner } = &mut *self;
        let _cork = Cork::new(fabric);
        inner.as_mut().poll(cx)
    }
}

impl<F, T> Unpin for Corked<F, T> {}
