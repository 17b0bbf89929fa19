//! A process's dealings with the coordinator: one thread that hears of later maps, and one that asks.

use crate::bulletin::Bulletin;
use farrow_control::coordination::{Ask, Decision, Denial, ProcessId, Tell};
use farrow_control::map::ClusterMap;
use farrow_control::message::{Reply, Request};
use farrow_layout::{ClientId, Epoch, NodeId};
use farrow_transport::{CallError, Caller, DialOptions, Session};
use futures_channel::oneshot;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Between two attempts to reach any coordinator.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a process that ends waits for the coordinator to take note.
const FAREWELL: Duration = Duration::from_millis(500);
/// For an answer of the coordinator's.
const ANSWER: Duration = Duration::from_secs(3);
/// For a node that is asked for its map.
const NODE: Duration = Duration::from_millis(300);

/// The name under which the coordinator knows this process.
pub(crate) struct Process(AtomicU64);

impl Process {
    pub(crate) fn draw() -> Process {
        Process(AtomicU64::new(random()))
    }

    pub(crate) fn id(&self) -> ProcessId {
        ProcessId(self.0.load(Ordering::Acquire))
    }

    /// The process was taken for lost under the name `old`: it comes back under another.
    fn lost(&self, old: ProcessId) {
        let fresh = random();
        if self.0.compare_exchange(old.0, fresh, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            tracing::warn!(%old, "this process was taken for lost: its clients go on under new ids");
        }
    }
}

/// Random enough for a name: the keys of a hasher come from the system.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id()).max(1)
}

/// A client under the name of the process that it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) process: ProcessId,
    pub(crate) client: ClientId,
}

enum Errand {
    NewClient(oneshot::Sender<Result<Named, String>>),
    Report { node: NodeId, for_ns: u64, why: String, answer: oneshot::Sender<Decision> },
    Leave { named: Named, is_clean: bool },
}

/// Asks the coordinator, one thing after the other, on a thread of its own.
pub(crate) struct Desk {
    errands: Mutex<Option<mpsc::Sender<Errand>>>,
    done: Mutex<mpsc::Receiver<()>>,
}

impl Desk {
    pub(crate) fn open(
        mut caller: Caller,
        process: Arc<Process>,
        bulletin: Arc<Bulletin>,
    ) -> std::io::Result<Desk> {
        let (errands, inbox) = mpsc::channel();
        let (ending, done) = mpsc::channel();
        thread::Builder::new().name("farrow-coordinator".into()).spawn(move || {
            let _ending = ending;
            for errand in inbox {
                caller.set_coordinators(&bulletin.map().coordinators);
                run(&mut caller, &process, errand);
            }
        })?;
        Ok(Desk { errands: Mutex::new(Some(errands)), done: Mutex::new(done) })
    }

    fn send(&self, errand: Errand) {
        if let Some(errands) = &*self.errands.lock().unwrap_or_else(PoisonError::into_inner) {
            // A thread that has ended drops the errand, and with it the channel of whoever waits.
            let _ = errands.send(errand);
        }
    }

    /// An id that nobody ever had.
    pub(crate) fn new_client(&self) -> oneshot::Receiver<Result<Named, String>> {
        let (answer, waiting) = oneshot::channel();
        self.send(Errand::NewClient(answer));
        waiting
    }

    /// Says that a node cannot be reached, as it has for so long.
    pub(crate) fn report(&self, node: NodeId, for_ns: u64, why: String) -> oneshot::Receiver<Decision> {
        let (answer, waiting) = oneshot::channel();
        self.send(Errand::Report { node, for_ns, why, answer });
        waiting
    }

    /// A client has left every node.
    pub(crate) fn leave(&self, named: Named, is_clean: bool) {
        self.send(Errand::Leave { named, is_clean });
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.errands.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Nobody sends: it ends when the thread does.
        let _ = self.done.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(FAREWELL);
    }
}

fn run(caller: &mut Caller, process: &Process, errand: Errand) {
    match errand {
        Errand::NewClient(answer) => drop(answer.send(new_client(caller, process))),
        Errand::Report { node, for_ns, why, answer } => {
            let ask = Ask::Unreachable { process: process.id(), node, for_ns, why: why.clone() };
            let decision = match caller.call(&ask, ANSWER) {
                Ok(Tell::Decided(decision)) => decision,
                told => {
                    tracing::debug!(%node, ?told, "the coordinator decides nothing about a node");
                    // Another attempt, until a coordinator answers or the operation's deadline passes.
                    Decision::Undecided
                }
            };
            tracing::info!(%node, why, ?decision, "a node cannot be reached");
            let _ = answer.send(decision);
        }
        Errand::Leave { named: Named { process, client }, is_clean } => {
            let told = caller.call(&Ask::LeaveClient { process, client, is_clean }, FAREWELL);
            if !matches!(told, Ok(Tell::Done)) {
                tracing::debug!(%client, ?told, "the coordinator did not take note that a client left");
            }
        }
    }
}

/// Asks what there is no going on without. A coordinator that restarts, or another that takes over, is waited for.
fn patiently(caller: &mut Caller, ask: &Ask) -> Result<Tell, CallError> {
    let begun = Instant::now();
    loop {
        match caller.call(ask, ANSWER) {
            Err(CallError::NoLeader { .. } | CallError::NoAnswer { .. }) if begun.elapsed() < ANSWER => {
                thread::sleep(PAUSE);
            }
            answered => return answered,
        }
    }
}

fn new_client(caller: &mut Caller, process: &Process) -> Result<Named, String> {
    // The second time under another name.
    for _ in 0..2 {
        let id = process.id();
        match patiently(caller, &Ask::NewClient { process: id }) {
            Ok(Tell::Client(client)) => return Ok(Named { process: id, client }),
            Err(CallError::Denied { denial: Denial::ProcessLost(_), .. }) => process.lost(id),
            Ok(other) => return Err(format!("the coordinator gave an answer that does not fit: {other:?}")),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("the coordinator takes this process for lost".into())
}

/// Hears of later maps, and keeps the process's lease, until it is dropped.
pub(crate) struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread is in the middle of a long poll, perhaps: it ends by itself.
        self.0.store(true, Ordering::Release);
    }
}

impl Watch {
    pub(crate) fn start(
        caller: Caller,
        process: Arc<Process>,
        bulletin: Arc<Bulletin>,
        dial: DialOptions,
    ) -> std::io::Result<Watch> {
        let is_over = Arc::new(AtomicBool::new(false));
        let theirs = is_over.clone();
        thread::Builder::new()
            .name("farrow-membership".into())
            .spawn(move || watch(caller, &process, &bulletin, &dial, &theirs))?;
        Ok(Watch(is_over))
    }
}

fn watch(
    mut caller: Caller,
    process: &Process,
    bulletin: &Bulletin,
    dial: &DialOptions,
    is_over: &AtomicBool,
) {
    let mut next_node = 0;
    while !is_over.load(Ordering::Acquire) {
        let id = process.id();
        let epoch = bulletin.map().epoch;
        // It holds its answer back for a quarter of a lease.
        let within = caller.lease().map_or(ANSWER, |lease| (lease / 2).max(NODE));
        match caller.call(&Ask::Watch { process: id, who: dial.who.clone(), epoch }, within) {
            Ok(Tell::News(news)) => {
                if let Some(map) = news.map {
                    bulletin.publish(map);
                    caller.set_coordinators(&bulletin.map().coordinators);
                }
            }
            Err(CallError::Denied { denial: Denial::ProcessLost(_), .. }) => process.lost(id),
            told => {
                tracing::debug!(?told, "no news from a coordinator");
                // A map that was published just before it was lost, some node knows.
                let map = bulletin.map();
                let up: Vec<_> = map.nodes.iter().filter(|node| node.is_up()).collect();
                if let Some(node) = up.get(next_node % up.len().max(1))
                    && let Some(map) = map_of(&node.address, dial)
                {
                    bulletin.publish(map);
                }
                next_node += 1;
                thread::sleep(PAUSE);
            }
        }
    }
}

/// The map that a node knows, if it answers soon.
fn map_of(address: &str, dial: &DialOptions) -> Option<ClusterMap> {
    let dial = DialOptions { timeout: dial.timeout.min(NODE), ..dial.clone() };
    let session = Session::dial_control(address, &dial).ok()?;
    session.set_patience(NODE);
    match session.call(&Request::Map) {
        Ok(Reply::Map(map)) => Some(*map),
        _ => None,
    }
}

/// The map that a coordinator knows; blocks.
///
/// # Errors
/// In words.
pub(crate) fn first_map(caller: &mut Caller, process: &Process, who: &str) -> Result<ClusterMap, String> {
    let ask = Ask::Watch { process: process.id(), who: who.to_owned(), epoch: Epoch(0) };
    match patiently(caller, &ask) {
        Ok(Tell::News(news)) => {
            news.map.ok_or_else(|| "the coordinator has no map yet: it waits for nodes".into())
        }
        Ok(other) => Err(format!("the coordinator gave an answer that does not fit: {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}
