//! The thread that talks to one node's control plane, so that owner threads never block on it.

use crate::bulletin::Bulletin;
use crate::desk::{Desk, Named};
use crate::grant;
use crate::space::GrantError;
use farrow_control::message::{Refusal, Reply, Request};
use farrow_layout::{ClientId, HomeId, Incarnation, NodeId};
use farrow_protocol::Extent;
use farrow_transport::{DialError, DialOptions, LinkOffer, LinkWish, Session};
use futures_channel::oneshot;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How long to wait for a node to notice that the last session of ours is over.
const TAKEN: Duration = Duration::from_secs(1);
/// Between two attempts meanwhile.
const TAKEN_PAUSE: Duration = Duration::from_millis(5);
/// How long a process that ends waits for a node to take note.
const FAREWELL: Duration = Duration::from_secs(1);

/// Requests to one node, carried out in order by a thread of its own, over a session that is dialled anew when it is lost.
/// Dropping it waits a while for what was asked.
pub(crate) struct Worker {
    way: Arc<Way>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    done: Mutex<mpsc::Receiver<()>>,
}

/// What is known of the node, by all threads.
struct Way {
    node: NodeId,
    address: String,
    dial: DialOptions,
    bulletin: Arc<Bulletin>,
    /// The life of the node's memory that all of this is about, once it is known.
    incarnation: Mutex<Option<Incarnation>>,
    session: Mutex<Option<Arc<Session>>>,
}

/// A client leaves: when all nodes know, the coordinator is told.
pub(crate) struct Leaving {
    pub(crate) desk: Arc<Desk>,
    pub(crate) named: Named,
    pub(crate) is_clean: Arc<AtomicBool>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.desk.leave(self.named, self.is_clean.load(Ordering::Acquire));
    }
}

type Answer<T> = oneshot::Sender<Result<T, DialError>>;

/// Space that is asked for.
pub(crate) struct ExtentWish {
    pub(crate) client: ClientId,
    pub(crate) home: HomeId,
    pub(crate) bytes: u64,
    /// Cleared when something may have been granted that nobody knows of.
    pub(crate) is_clean: Arc<AtomicBool>,
}

enum Job {
    Dial(mpsc::Sender<Result<Arc<Session>, DialError>>),
    Reach { client: ClientId, former: Vec<ClientId>, answer: Answer<Arc<Session>> },
    Offer { client: ClientId, wish: LinkWish, answer: Answer<LinkOffer> },
    Open { wish: ExtentWish, answer: oneshot::Sender<Result<Extent, GrantError>> },
    Seal { request: Request, is_clean: Arc<AtomicBool> },
    Tell(Request),
    Leave { client: ClientId, leaving: Option<Arc<Leaving>> },
}

impl Worker {
    /// For a node that is reached at `address`, with memory of that life if it is known. Dials when it is first needed.
    pub(crate) fn start(
        node: NodeId,
        address: &str,
        incarnation: Option<Incarnation>,
        dial: &DialOptions,
        bulletin: &Arc<Bulletin>,
    ) -> std::io::Result<Worker> {
        let (jobs, inbox) = mpsc::channel();
        let (ending, done) = mpsc::channel();
        let way = Arc::new(Way {
            node,
            address: address.to_owned(),
            dial: dial.clone(),
            bulletin: bulletin.clone(),
            incarnation: Mutex::new(incarnation),
            session: Mutex::default(),
        });
        let (joined, known, over) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut carrier = Carrier { way: way.clone(), joined, known, over, next_look: None };
        std::thread::Builder::new().name(format!("farrow-control-{node}")).spawn(move || {
            let _ending = ending;
            loop {
                match inbox.recv_timeout(carrier.until_next_look()) {
                    // Much to do must not keep it from looking.
                    Ok(job) if carrier.until_next_look().is_zero() => {
                        carrier.look_at_lease();
                        carrier.carry_out(job);
                    }
                    Ok(job) => carrier.carry_out(job),
                    Err(mpsc::RecvTimeoutError::Timeout) => carrier.look_at_lease(),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Worker { way, jobs: Mutex::new(Some(jobs)), done: Mutex::new(done) })
    }

    /// The session that there was last, if any.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.way.session()
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            // A thread that has ended drops the job, and with it the channel of whoever waits.
            let _ = jobs.send(job);
        }
    }

    /// A session, dialled if there is none; the answer arrives on the channel.
    pub(crate) fn dial(&self) -> mpsc::Receiver<Result<Arc<Session>, DialError>> {
        let (answer, waiting) = mpsc::channel();
        self.send(Job::Dial(answer));
        waiting
    }

    /// A session on which `client` has joined, and under whose `former` ids nothing is left at the node.
    pub(crate) fn reach(
        &self,
        client: ClientId,
        former: Vec<ClientId>,
    ) -> oneshot::Receiver<Result<Arc<Session>, DialError>> {
        let (answer, waiting) = oneshot::channel();
        self.send(Job::Reach { client, former, answer });
        waiting
    }

    /// The node's half of a link.
    pub(crate) fn offer(
        &self,
        client: ClientId,
        wish: LinkWish,
    ) -> oneshot::Receiver<Result<LinkOffer, DialError>> {
        let (answer, waiting) = oneshot::channel();
        self.send(Job::Offer { client, wish, answer });
        waiting
    }

    /// Asks for space; the channel breaks when the node is gone.
    pub(crate) fn open(&self, wish: ExtentWish) -> oneshot::Receiver<Result<Extent, GrantError>> {
        let (answer, waiting) = oneshot::channel();
        self.send(Job::Open { wish, answer });
        waiting
    }

    /// Tells the node that an extent is full; if it does not take note, the client has not left cleanly.
    pub(crate) fn seal(&self, request: Request, is_clean: Arc<AtomicBool>) {
        self.send(Job::Seal { request, is_clean });
    }

    /// Tells the node something whose answer nobody waits for, if there is a session.
    pub(crate) fn tell(&self, request: Request) {
        self.send(Job::Tell(request));
    }

    /// The client leaves.
    pub(crate) fn leave(&self, client: ClientId, leaving: Option<Arc<Leaving>>) {
        self.send(Job::Leave { client, leaving });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Nobody sends: it ends when the thread does. One that hangs on a node that is gone is left to itself.
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(mpsc::RecvTimeoutError::Timeout) = done.recv_timeout(FAREWELL) {
            tracing::debug!(node = %self.way.node, "a node does not answer: it is not told that this process ends");
        }
    }
}

impl Way {
    fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_session(&self, session: Option<Arc<Session>>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    fn dial(&self) -> Result<Arc<Session>, DialError> {
        let session = Session::dial(&self.address, &self.dial)?;
        let welcome = session.welcome();
        let mut known = self.incarnation.lock().unwrap_or_else(PoisonError::into_inner);
        let confused = |what| DialError::Confused { address: self.address.clone(), what };
        if welcome.node != self.node {
            let (said, mapped) = (welcome.node, self.node);
            let what = format!("it says that it is {said}, the map says {mapped}: is one node listed twice?");
            return Err(confused(what));
        }
        if known.is_some_and(|known| known != welcome.incarnation) {
            return Err(confused("its memory is not the one that it had: it was started anew".into()));
        }
        *known = Some(welcome.incarnation);
        if !welcome.map.is_static() {
            self.bulletin.publish(welcome.map.clone());
        }
        tracing::debug!(node = %self.node, choice = %session.choice(), "a new session");
        let session = Arc::new(session);
        self.set_session(Some(session.clone()));
        Ok(session)
    }
}

/// The thread's own.
struct Carrier {
    way: Arc<Way>,
    /// Clients that have joined on the present session.
    joined: BTreeSet<ClientId>,
    /// Clients that had joined on any session.
    known: BTreeSet<ClientId>,
    /// Ids that are known to be nobody's at the node.
    over: BTreeSet<ClientId>,
    /// When the node's lease is to be asked for again: over RDMA in a coordinated cluster.
    next_look: Option<Instant>,
}

/// How often a node is asked for a lease that never ends.
const SELDOM: Duration = Duration::from_secs(3600);

impl Carrier {
    fn until_next_look(&self) -> Duration {
        self.next_look.map_or(SELDOM, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Asks for how long the node may be believed. A stopped daemon does not answer, and its links are given up.
    fn look_at_lease(&mut self) {
        self.next_look = None;
        let Some(session) = self.way.session().filter(|session| session.choice().transport == "rdma") else {
            return;
        };
        match session.renew_lease() {
            Ok(Some(left)) => self.next_look = Some(Instant::now() + left / 4),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(node = %self.way.node, %error, "a node does not say how long it may serve");
                self.way.set_session(None);
                self.joined.clear();
            }
        }
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Dial(answer) => drop(answer.send(self.session())),
            Job::Reach { client, former, answer } => drop(answer.send(self.reach(client, &former))),
            Job::Offer { client, wish, answer } => {
                let offered = self.session().and_then(|session| session.offer_link(client, wish));
                if offered.is_ok() && matches!(wish, LinkWish::Rdma(_)) {
                    self.next_look = Some(Instant::now());
                }
                drop(answer.send(self.watched(client, offered)));
            }
            Job::Open { wish, answer } => {
                // Nobody waits any more when the client leaves: nothing will ever be written there.
                if let Err(Ok(unused)) = answer.send(self.open(&wish))
                    && !self.tell(&grant::seal(wish.client, &unused, 0))
                {
                    wish.is_clean.store(false, Ordering::Release);
                }
            }
            Job::Seal { request, is_clean } => {
                if !self.tell(&request) {
                    is_clean.store(false, Ordering::Release);
                }
            }
            Job::Tell(request) => drop(self.tell(&request)),
            Job::Leave { client, leaving } => {
                if self.joined.remove(&client) {
                    self.tell(&Request::Leave { client });
                }
                drop(leaving);
            }
        }
    }

    fn session(&mut self) -> Result<Arc<Session>, DialError> {
        match self.way.session() {
            Some(session) => Ok(session),
            None => self.way.dial(),
        }
    }

    /// A result, after what it says of the session was taken to heart.
    fn watched<T>(&mut self, client: ClientId, result: Result<T, DialError>) -> Result<T, DialError> {
        match &result {
            Err(DialError::Channel { .. }) => {
                self.way.set_session(None);
                self.joined.clear();
            }
            Err(DialError::Refused { refusal: Refusal::NotJoined(_) | Refusal::Evicted(_), .. }) => {
                self.joined.remove(&client);
            }
            _ => {}
        }
        result
    }

    fn reach(&mut self, client: ClientId, former: &[ClientId]) -> Result<Arc<Session>, DialError> {
        let session = self.session()?;
        for old in former {
            if !self.over.contains(old) {
                let ended = self.end(&session, *old);
                self.watched(*old, ended)?;
                self.over.insert(*old);
            }
        }
        if !self.joined.contains(&client) {
            let joined = self.join(&session, client);
            self.watched(client, joined)?;
            self.joined.insert(client);
            self.known.insert(client);
        }
        Ok(session)
    }

    /// Sees to it that nothing posted under an id that this client had will execute any more.
    fn end(&mut self, session: &Session, old: ClientId) -> Result<(), DialError> {
        if !self.joined.remove(&old) {
            // On a session that is over, perhaps, and the node has not noticed.
            match self.join(session, old) {
                Err(DialError::Refused { refusal: Refusal::Evicted(_), .. }) => return Ok(()),
                joined => joined?,
            }
        }
        match session.call(&Request::Leave { client: old }) {
            Err(DialError::Refused { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Joins; waits for the node to notice the end of an earlier session if that is what is in the way.
    fn join(&self, session: &Session, client: ClientId) -> Result<(), DialError> {
        let is_drawn = self.way.bulletin.map().is_static();
        let begun = Instant::now();
        loop {
            match session.join(client) {
                Err(DialError::Refused { refusal: Refusal::ClientTaken(_), .. })
                    if begun.elapsed() < TAKEN && (!is_drawn || self.known.contains(&client)) =>
                {
                    std::thread::sleep(TAKEN_PAUSE);
                }
                joined => return joined,
            }
        }
    }

    fn open(&mut self, wish: &ExtentWish) -> Result<Extent, GrantError> {
        let &ExtentWish { client, home, bytes, .. } = wish;
        let Some(session) = self.way.session().filter(|_| self.joined.contains(&client)) else {
            return Err(GrantError::Unavailable("the node's control session has ended".into()));
        };
        let answered = session.call(&Request::OpenExtent { client, home, bytes });
        match self.watched(client, answered) {
            Ok(Reply::Extent(grant)) => Ok(grant::extent(client, home, &grant)),
            Ok(other) => Err(GrantError::Unavailable(session.confused(&other).to_string())),
            Err(DialError::Refused { refusal, .. }) => Err(grant::refused(&refusal)),
            Err(error) => {
                wish.is_clean.store(false, Ordering::Release);
                Err(GrantError::Unavailable(error.to_string()))
            }
        }
    }

    /// Whether the node took note.
    fn tell(&mut self, request: &Request) -> bool {
        let Some(session) = self.way.session() else { return false };
        let client = match request {
            Request::SealExtent { client, .. } | Request::Leave { client } | Request::Unlink { client } => {
                *client
            }
            _ => ClientId(0),
        };
        let told = session.call(request);
        let told = self.watched(client, told);
        if let Err(error) = &told {
            tracing::debug!(node = %self.way.node, %error, "a node did not take note");
        }
        told.is_ok()
    }
}
