//! How other threads, and wakers of this one, end a sleep on the completion channel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};

/// An event descriptor that is written to only while its owner sleeps: waking a thread that runs costs two atomics.
#[derive(Debug)]
pub(crate) struct Alarm {
    fd: OwnedFd,
    is_called: AtomicBool,
    is_asleep: AtomicBool,
}

impl Alarm {
    pub(crate) fn new() -> rustix::io::Result<Arc<Alarm>> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Alarm { fd, is_called: AtomicBool::new(false), is_asleep: AtomicBool::new(false) }))
    }

    /// Runs `sleep`, which waits for the descriptor among others, unless somebody has called since the last time.
    pub(crate) fn sleep_unless_called(&self, sleep: impl FnOnce()) {
        // Store, then load; the caller does the same on the other one: not both can miss the other's store.
        self.is_asleep.store(true, Ordering::SeqCst);
        if !self.is_called.load(Ordering::SeqCst) {
            sleep();
        }
        self.is_asleep.store(false, Ordering::SeqCst);
        // A swap, so that whatever a caller did before it called is seen by what runs after this sleep.
        self.is_called.swap(false, Ordering::SeqCst);
        // Empty is the usual state, and the only error of a descriptor that is ours.
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_called.store(true, Ordering::SeqCst);
        if self.is_asleep.load(Ordering::SeqCst) {
            // Full means that it was written to already.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::time::{Duration, Instant};

    fn sleep(alarm: &Alarm) {
        alarm.sleep_unless_called(|| {
            let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
            poll(&mut [PollFd::new(alarm, PollFlags::IN)], Some(&timeout)).expect("polls");
        });
    }

    #[test]
    fn a_call_ends_a_sleep_that_has_begun_or_will_begin() {
        let alarm = Alarm::new().expect("an event descriptor");
        let start = Instant::now();
        let waker = std::task::Waker::from(Arc::clone(&alarm));
        waker.wake_by_ref();
        waker.wake_by_ref();
        sleep(&alarm);
        for _ in 0..20 {
            let waker = waker.clone();
            let caller = std::thread::spawn(move || waker.wake());
            sleep(&alarm);
            caller.join().expect("wakes");
        }
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_call_wakes_once() {
        let alarm = Alarm::new().expect("an event descriptor");
        alarm.wake_by_ref();
        let mut has_slept = false;
        alarm.sleep_unless_called(|| has_slept = true);
        assert!(!has_slept);
        alarm.sleep_unless_called(|| has_slept = true);
        assert!(has_slept);
    }
}
