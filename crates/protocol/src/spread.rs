//! Doing many things, a few of them at a time.

use farrow_fabric::join_all;
use std::cell::{Cell, RefCell};

/// Runs `job` over all of `jobs`, at most `width` at a time, begun in their order.
///
/// # Errors
/// That of one that failed. No further one is begun then; those under way end first, so that no verb of theirs is on its way
/// behind the answer.
pub(crate) async fn spread<J, E>(
    jobs: impl Iterator<Item = J>,
    width: usize,
    job: impl AsyncFn(J) -> Result<(), E>,
) -> Result<(), E> {
    let (jobs, has_failed, job) = (RefCell::new(jobs.fuse()), Cell::new(false), &job);
    let worker = || async {
        while !has_failed.get() {
            let next = jobs.borrow_mut().next();
            let Some(next) = next else { break };
            job(next).await.inspect_err(|_| has_failed.set(true))?;
        }
        Ok(())
    };
    join_all((0..width).map(|_| Box::pin(worker()))).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    /// Polls until it is ready; nothing here waits for anybody else.
    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return output;
            }
        }
    }

    async fn once_later() {
        let mut was_polled = false;
        std::future::poll_fn(|_| {
            if std::mem::replace(&mut was_polled, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[test]
    fn all_are_done_and_never_more_at_a_time_than_asked_for() {
        let (running, most, done) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let ended = run(spread(0..10, 3, async |_| {
            running.set(running.get() + 1);
            most.set(most.get().max(running.get()));
            once_later().await;
            running.set(running.get() - 1);
            done.set(done.get() + 1);
            Ok::<_, ()>(())
        }));
        assert_eq!((ended, most.get(), done.get()), (Ok(()), 3, 10));
    }

    #[test]
    fn behind_a_failure_nothing_is_begun_and_what_is_under_way_ends() {
        let (begun, ended) = (Cell::new(0), Cell::new(0));
        let outcome = run(spread(0..10, 3, async |n| {
            begun.set(begun.get() + 1);
            if n == 1 {
                return Err("lost");
            }
            once_later().await;
            ended.set(ended.get() + 1);
            Ok(())
        }));
        assert_eq!((outcome, begun.get(), ended.get()), (Err("lost"), 2, 1));
    }
}
