//! Client tasks and their wakers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// A task's number, in the order of spawning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(pub usize);

/// The tasks that were woken, in order.
#[derive(Debug, Default)]
pub(crate) struct Woken(Mutex<Vec<TaskId>>);

impl Woken {
    pub(crate) fn take(&self) -> Vec<TaskId> {
        let mut woken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if woken.is_empty() { Vec::new() } else { std::mem::take(&mut woken) }
    }
}

struct TaskWaker {
    task: TaskId,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
    }
}

/// One task.
pub(crate) struct Task {
    /// Taken out while it is polled; `None` for good when it has ended or was stopped.
    pub(crate) future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The fabric whose links it uses, for faults.
    pub(crate) fabric: usize,
    pub(crate) is_on_agenda: bool,
    pub(crate) is_paused: bool,
    pub(crate) has_ended: bool,
    /// It stands for a fault.
    pub(crate) is_fault: bool,
    /// Steps that woke it since it was polled last.
    pub(crate) woken_by: Vec<u64>,
    pub(crate) waker: Waker,
}

impl Task {
    pub(crate) fn new(
        id: TaskId,
        fabric: usize,
        woken: &Arc<Woken>,
        future: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Task {
        let waker = Waker::from(Arc::new(TaskWaker { task: id, woken: woken.clone() }));
        waker.wake_by_ref();
        Task {
            future: Some(future),
            fabric,
            is_on_agenda: false,
            is_paused: false,
            has_ended: false,
            is_fault: false,
            woken_by: Vec::new(),
            waker,
        }
    }
}
