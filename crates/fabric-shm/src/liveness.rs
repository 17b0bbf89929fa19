//! The daemon's sign of life: a robust futex that the kernel marks when its owner dies, by whatever means.
//!
//! The only unsafe code of this crate: the system call that tells the kernel where the futex lies.

use crate::page::ControlPage;
use farrow_layout::OWNER_DIED;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// While it lives, the page has a live owner. Dropping it marks the owner dead.
#[derive(Debug)]
pub(crate) struct Liveness {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Liveness {
    /// Makes a thread of its own the owner of `page`. A stopped process keeps owning it.
    ///
    /// # Errors
    /// The system's, from making the thread or registering the futex.
    pub(crate) fn start(page: Arc<ControlPage>) -> io::Result<Liveness> {
        let (stop, stopped) = channel::<()>();
        let (started, is_started) = channel();
        let thread = std::thread::Builder::new().name("shm-liveness".into()).spawn(move || {
            let list = match RobustList::register(&page) {
                Ok(list) => list,
                Err(error) => return drop(started.send(Err(error))),
            };
            let tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
            page.owner().store(tid, Ordering::SeqCst);
            let _ = started.send(Ok(()));
            // Ends when the sender is dropped: nothing is ever sent.
            let _ = stopped.recv();
            page.owner().store(OWNER_DIED, Ordering::SeqCst);
            drop(list);
        })?;
        let liveness = Liveness { stop: Some(stop), thread: Some(thread) };
        is_started.recv().unwrap_or_else(|_| Err(io::Error::other("the liveness thread ended at once")))?;
        Ok(liveness)
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `struct robust_list` of linux/futex.h.
#[repr(C)]
struct Entry {
    next: *const Entry,
}

/// `struct robust_list_head` of linux/futex.h, with the one entry that is ever in it.
#[repr(C)]
struct Head {
    list: Entry,
    /// From an entry to its futex word.
    futex_offset: libc::c_long,
    list_op_pending: *const Entry,
    entry: Entry,
}

/// `sizeof(struct robust_list_head)`.
const HEAD_LEN: usize = 3 * size_of::<usize>();

/// The calling thread's robust list; it keeps the page mapped.
struct RobustList {
    head: *mut Head,
    _page: Arc<ControlPage>,
}

impl RobustList {
    fn register(page: &Arc<ControlPage>) -> io::Result<RobustList> {
        let nowhere = || Entry { next: std::ptr::null() };
        let head = Box::into_raw(Box::new(Head {
            list: nowhere(),
            futex_offset: 0,
            list_op_pending: std::ptr::null(),
            entry: nowhere(),
        }));
        let list = RobustList { head, _page: page.clone() };
        // SAFETY: the box was just made and is only reachable through `head`; the list is circular, as the kernel expects.
        unsafe {
            let entry = &raw const (*head).entry;
            (*head).list.next = entry;
            (*head).entry.next = (&raw const (*head).list).cast();
            (*head).futex_offset = (page.owner().as_ptr() as isize - entry as isize) as libc::c_long;
        }
        set_robust_list(head)?;
        Ok(list)
    }
}

impl Drop for RobustList {
    fn drop(&mut self) {
        match set_robust_list(std::ptr::null()) {
            // SAFETY: made by `Box::into_raw` in `register`; the kernel has just forgotten it.
            Ok(()) => drop(unsafe { Box::from_raw(self.head) }),
            // The kernel may still read it at the thread's end: it is left where it is.
            Err(_) => std::mem::forget(self._page.clone()),
        }
    }
}

fn set_robust_list(head: *const Head) -> io::Result<()> {
    // SAFETY: the kernel keeps the pointer until the thread ends or this is called again, and reads a list head and its
    // entries there: `RobustList` owns them for that long. It writes only to the futex word, and only if that holds the
    // thread's id. This thread uses no robust mutex of the C library, whose list it replaces.
    let result = unsafe { libc::syscall(libc::SYS_set_robust_list, head, HEAD_LEN) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
