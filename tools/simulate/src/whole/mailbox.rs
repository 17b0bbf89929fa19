//! Messages between tasks of one world.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A queue with one reader. Clones are the same.
pub(super) struct Mailbox<T>(Rc<RefCell<Inner<T>>>);

struct Inner<T> {
    messages: VecDeque<T>,
    is_closed: bool,
    waker: Option<Waker>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Mailbox(self.0.clone())
    }
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> Mailbox<T> {
        Mailbox(Rc::new(RefCell::new(Inner { messages: VecDeque::new(), is_closed: false, waker: None })))
    }

    /// Puts a message in, or gives it back when the box is closed.
    pub(super) fn send(&self, message: T) -> Result<(), T> {
        let mut inner = self.0.borrow_mut();
        if inner.is_closed {
            return Err(message);
        }
        inner.messages.push_back(message);
        wake(&mut inner);
        Ok(())
    }

    /// Lets no more messages in; those that are in it can still be read.
    pub(super) fn close(&self) {
        let mut inner = self.0.borrow_mut();
        inner.is_closed = true;
        wake(&mut inner);
    }

    /// The next message; `None` once the box is closed and empty.
    pub(super) async fn receive(&self) -> Option<T> {
        poll_fn(|cx| {
            let mut inner = self.0.borrow_mut();
            match inner.messages.pop_front() {
                Some(message) => Poll::Ready(Some(message)),
                None if inner.is_closed => Poll::Ready(None),
                None => {
                    inner.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

fn wake<T>(inner: &mut Inner<T>) {
    if let Some(waker) = inner.waker.take() {
        waker.wake();
    }
}
