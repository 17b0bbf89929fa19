//! Completion queues, and the channel that wakes a sleeper when one has something.

use std::ffi::c_int;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::abi::*;
use super::context::{Context, complain, make_nonblocking, would_block};
use super::library::CallError;

/// A descriptor that becomes readable when an armed completion queue gets an entry.
pub struct CompletionChannel {
    raw: NonNull<ibv_comp_channel>,
    context: Arc<Context>,
}

// SAFETY: libibverbs documents its functions as thread-safe; the struct is only read here.
unsafe impl Send for CompletionChannel {}
// SAFETY: as above.
unsafe impl Sync for CompletionChannel {}

impl CompletionChannel {
    /// A new channel on `context`. One serves any number of queues.
    ///
    /// # Errors
    /// No more descriptors, or the device is gone.
    pub fn create(context: &Arc<Context>) -> Result<Arc<CompletionChannel>, CallError> {
        // SAFETY: the context is open.
        let raw = unsafe { (context.verbs.create_comp_channel)(context.raw.as_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| CallError::last("ibv_create_comp_channel"))?;
        let channel = CompletionChannel { raw, context: Arc::clone(context) };
        make_nonblocking(channel.as_fd(), "ibv_create_comp_channel")?;
        Ok(Arc::new(channel))
    }

    /// Takes one event if there is one, and returns the tag of the queue it is from. Never blocks: wait by
    /// polling the descriptor for reading.
    ///
    /// An event disarms its queue. The safe order is: take the events, arm, poll the queue once more, sleep.
    ///
    /// # Errors
    /// The device is gone.
    pub fn take_event(&self) -> Result<Option<usize>, CallError> {
        let mut queue = ptr::null_mut();
        let mut tag = ptr::null_mut();
        // SAFETY: the channel is alive and both places are valid.
        let returned = unsafe { (self.context.verbs.get_cq_event)(self.raw.as_ptr(), &mut queue, &mut tag) };
        if returned != 0 {
            return would_block("ibv_get_cq_event");
        }
        // SAFETY: destroying a queue waits until each of its events taken from a channel is acknowledged, so
        // the queue is still there; each event is acknowledged once. At once, because acknowledging late
        // would let a drop of the queue wait for a thread that may itself wait for the drop.
        unsafe { (self.context.verbs.ack_cq_events)(queue, 1) };
        Ok(Some(tag.addr()))
    }
}

impl AsFd for CompletionChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the channel and is open as long as it is.
        unsafe { BorrowedFd::borrow_raw((*self.raw.as_ptr()).fd) }
    }
}

impl Drop for CompletionChannel {
    fn drop(&mut self) {
        // SAFETY: queues on this channel hold an `Arc` to it, so none is left.
        let returned = unsafe { (self.context.verbs.destroy_comp_channel)(self.raw.as_ptr()) };
        complain("ibv_destroy_comp_channel", returned);
    }
}

/// Where completions arrive.
pub struct CompletionQueue {
    pub(super) raw: NonNull<ibv_cq>,
    // Before the context: dropped first.
    _channel: Option<Arc<CompletionChannel>>,
    pub(super) context: Arc<Context>,
}

// SAFETY: libibverbs documents its functions as thread-safe, and providers lock the queue while polling; the
// struct is only read here.
unsafe impl Send for CompletionQueue {}
// SAFETY: as above.
unsafe impl Sync for CompletionQueue {}

impl CompletionQueue {
    /// A queue for at least `capacity` entries. More completions than that at a time break the queue and
    /// every queue pair on it: whoever posts has to keep count.
    ///
    /// `tag` comes back from [`CompletionChannel::take_event`] and in asynchronous events.
    ///
    /// # Errors
    /// The device has no more queues, or none so deep.
    pub fn create(
        context: &Arc<Context>,
        capacity: u32,
        channel: Option<&Arc<CompletionChannel>>,
        tag: usize,
    ) -> Result<Arc<CompletionQueue>, CallError> {
        if let Some(channel) = channel {
            assert!(Arc::ptr_eq(&channel.context, context), "channel and queue are of one device");
        }
        let capacity = c_int::try_from(capacity).unwrap_or(c_int::MAX);
        let on = channel.map_or(ptr::null_mut(), |channel| channel.raw.as_ptr());
        // SAFETY: context and channel are alive; the tag is never followed as a pointer, by anyone. Vector 0
        // exists on every device.
        let raw = unsafe {
            (context.verbs.create_cq)(context.raw.as_ptr(), capacity, ptr::without_provenance_mut(tag), on, 0)
        };
        let raw = NonNull::new(raw).ok_or_else(|| CallError::last("ibv_create_cq"))?;
        Ok(Arc::new(CompletionQueue { raw, _channel: channel.cloned(), context: Arc::clone(context) }))
    }

    /// Entries the queue really has; at least what was asked for.
    pub fn capacity(&self) -> u32 {
        // SAFETY: the queue is alive, and nobody resizes it.
        u32::try_from(unsafe { (*self.raw.as_ptr()).cqe }).unwrap_or(0)
    }

    /// Moves completions into `into`, oldest first, and returns how many.
    ///
    /// # Errors
    /// The queue overflowed or the device is gone. Nothing on this queue completes any more.
    #[inline]
    pub fn poll(&self, into: &mut [Wc]) -> Result<usize, CallError> {
        let room = c_int::try_from(into.len()).unwrap_or(c_int::MAX);
        // SAFETY: the queue and its context are alive; the pointer is the provider's own, set by the library
        // when it opened the device. `Wc` is an `ibv_wc` and `into` has room for that many.
        let polled = unsafe {
            let queue = self.raw.as_ptr();
            match (*(*queue).context).ops.poll_cq {
                Some(poll_cq) => poll_cq(queue, room, into.as_mut_ptr().cast()),
                None => -1,
            }
        };
        usize::try_from(polled)
            .map_err(|_| CallError::new("ibv_poll_cq", std::io::Error::other("queue broken")))
    }

    /// Arms the queue: the next completion makes an event on its channel. Completions that arrived before
    /// this call do not, so poll once more afterwards.
    ///
    /// # Errors
    /// The device is gone.
    pub fn request_notification(&self) -> Result<(), CallError> {
        // SAFETY: as in `poll`.
        let returned = unsafe {
            let queue = self.raw.as_ptr();
            match (*(*queue).context).ops.req_notify_cq {
                Some(req_notify_cq) => req_notify_cq(queue, 0),
                None => -1,
            }
        };
        CallError::check("ibv_req_notify_cq", returned)
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // SAFETY: queue pairs on this queue hold an `Arc` to it, so none is left, and no event is
        // unacknowledged.
        let returned = unsafe { (self.context.verbs.destroy_cq)(self.raw.as_ptr()) };
        complain("ibv_destroy_cq", returned);
    }
}

/// One completion.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Wc(ibv_wc);

impl Wc {
    /// The id the work request was posted with.
    pub fn id(&self) -> u64 {
        self.0.wr_id
    }

    /// How it ended. If not in success, only [`Wc::id`], [`Wc::queue_pair`] and [`Wc::vendor_error`] mean
    /// anything.
    pub fn status(&self) -> Status {
        Status(self.0.status)
    }

    /// The number of the queue pair it was posted on.
    pub fn queue_pair(&self) -> u32 {
        self.0.qp_num
    }

    /// Bytes that a READ or atomic brought.
    pub fn byte_len(&self) -> u32 {
        self.0.byte_len
    }

    /// The device's own word for an error, for its maker's support.
    pub fn vendor_error(&self) -> u32 {
        self.0.vendor_err
    }
}

impl fmt::Debug for Wc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wc")
            .field("id", &self.id())
            .field("status", &self.status())
            .field("queue_pair", &self.queue_pair())
            .field("vendor_error", &self.vendor_error())
            .finish_non_exhaustive()
    }
}

/// `enum ibv_wc_status`. A number, because a newer library may have more of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// It took effect.
    pub const SUCCESS: Status = Status(0);
    /// The local scatter entry is outside its region, or the region does not allow it.
    pub const LOCAL_PROTECTION: Status = Status(4);
    /// An earlier request of the queue pair failed; whether this one took effect is unknown.
    pub const FLUSHED: Status = Status(5);
    /// The peer's device refused a malformed or misaligned request.
    pub const REMOTE_INVALID_REQUEST: Status = Status(9);
    /// The peer's region does not allow it: wrong key, wrong range or wrong right.
    pub const REMOTE_ACCESS: Status = Status(10);
    /// The peer's device could not carry it out.
    pub const REMOTE_OPERATION: Status = Status(11);
    /// The peer did not answer in time; whether it took effect is unknown.
    pub const RETRY_EXCEEDED: Status = Status(12);
    /// The peer was not ready, again and again.
    pub const RNR_RETRY_EXCEEDED: Status = Status(13);

    /// Whether the work request took effect.
    pub fn is_success(self) -> bool {
        self == Status::SUCCESS
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WORDS: [&str; 24] = [
            "success",
            "local length error",
            "local queue pair operation error",
            "local EE context operation error",
            "local protection error",
            "flushed after an earlier error",
            "memory window bind error",
            "bad response",
            "local access error",
            "remote invalid request",
            "remote access error",
            "remote operation error",
            "transport retries exhausted: the peer does not answer",
            "receiver-not-ready retries exhausted",
            "local RDD violation",
            "remote invalid RD request",
            "aborted by the peer",
            "invalid EE context number",
            "invalid EE context state",
            "fatal error of the device",
            "response timeout",
            "general error",
            "tag matching error",
            "tag matching rendezvous incomplete",
        ];
        match WORDS.get(self.0 as usize) {
            Some(words) => f.write_str(words),
            None => write!(f, "unknown completion status {}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_words_and_unknown_ones_a_number() {
        assert_eq!(Status::SUCCESS.to_string(), "success");
        assert_eq!(Status::FLUSHED.to_string(), "flushed after an earlier error");
        assert_eq!(Status::REMOTE_ACCESS.to_string(), "remote access error");
        assert_eq!(Status::RNR_RETRY_EXCEEDED.to_string(), "receiver-not-ready retries exhausted");
        assert_eq!(Status(77).to_string(), "unknown completion status 77");
    }
}
