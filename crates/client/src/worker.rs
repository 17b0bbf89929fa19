//! The thread that talks to one node's control plane, so that owner threads never block on it.

use crate::grant;
use crate::space::GrantError;
use farrow_control::message::{Refusal, Reply, Request};
use farrow_layout::{ClientId, HomeId};
use farrow_protocol::Extent;
use farrow_transport::{DialError, Session};
use futures_channel::oneshot;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

/// Requests to one node, carried out in order by a thread of its own. Dropping it waits for what was asked.
pub(crate) struct Worker {
    session: Arc<Session>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

enum Job {
    Open { client: ClientId, home: HomeId, bytes: u64, reply: oneshot::Sender<Result<Extent, GrantError>> },
    Tell(Request),
}

impl Worker {
    pub(crate) fn start(session: Arc<Session>) -> std::io::Result<Worker> {
        let (jobs, inbox) = mpsc::channel();
        let name = format!("farrow-control-{}", session.node());
        let theirs = session.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || run(&theirs, &inbox))?;
        Ok(Worker { session, jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            // A thread that has ended drops the job, and with it the channel of whoever waits.
            let _ = jobs.send(job);
        }
    }

    /// Asks for space; the answer arrives on the channel, which breaks when the node is gone.
    pub(crate) fn open(
        &self,
        client: ClientId,
        home: HomeId,
        bytes: u64,
    ) -> oneshot::Receiver<Result<Extent, GrantError>> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Open { client, home, bytes, reply });
        answer
    }

    /// Tells the node something whose answer nobody waits for.
    pub(crate) fn tell(&self, request: Request) {
        self.send(Job::Tell(request));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            tracing::error!("the control thread of {} panicked", self.session.node());
        }
    }
}

fn run(session: &Session, inbox: &mpsc::Receiver<Job>) {
    for job in inbox {
        match job {
            Job::Open { client, home, bytes, reply } => {
                // Nobody waits any more when the client leaves: nothing will ever be written there.
                if let Err(Ok(unused)) = reply.send(open(session, client, home, bytes)) {
                    tell(session, &grant::seal(client, &unused, 0));
                }
            }
            Job::Tell(request) => tell(session, &request),
        }
    }
}

fn tell(session: &Session, request: &Request) {
    if let Err(error) = session.call(request) {
        tracing::debug!(node = %session.node(), %error, "a node did not take note");
    }
}

fn open(session: &Session, client: ClientId, home: HomeId, bytes: u64) -> Result<Extent, GrantError> {
    match session.call(&Request::OpenExtent { client, home, bytes }) {
        Ok(Reply::Extent(grant)) => Ok(grant::extent(client, home, &grant)),
        Ok(other) => Err(GrantError::Unavailable(session.confused(&other).to_string())),
        Err(DialError::Refused { refusal: refusal @ Refusal::NoSpace { .. }, .. }) => {
            Err(grant::refused(&refusal))
        }
        Err(error) => Err(GrantError::Unavailable(error.to_string())),
    }
}
