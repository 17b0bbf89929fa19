//! Requests, as they come over a channel.

use crate::{Coordinator, Instant};
use farrow_control::coordination::{Ask, Denial, ProcessId, Tell};
use farrow_layout::{Epoch, NodeId};

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is answered, as soon as the state is stored.
    Now(Tell),
    /// It is answered when there is news, or after a quarter of a lease: see [`Coordinator::poll`].
    Later(Wait),
}

/// Somebody who waits for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A node, and the epoch of its map.
    Node(NodeId, Epoch),
    /// A client process, and the epoch of its map.
    Process(ProcessId, Epoch),
}

impl Coordinator {
    /// Carries out a request that came in at `now`. `store` says where the state is kept, for people.
    pub fn answer(&mut self, now: Instant, ask: &Ask, store: &str) -> Answer {
        self.note_absence(now);
        match self.carry_out(now, ask, store) {
            Ok(answer) => answer,
            Err(denial) => Answer::Now(Tell::Denied(denial)),
        }
    }

    fn carry_out(&mut self, now: Instant, ask: &Ask, store: &str) -> Result<Answer, Denial> {
        let tell = match ask {
            Ask::Hello { .. } => {
                let lease_ms = self.settings.lease_ns / 1_000_000;
                Tell::Welcome { name: self.settings.name.clone(), lease_ms }
            }
            Ask::Register(offer) => {
                let node = self.register(now, offer)?;
                Tell::Registered { node, map: Box::new(self.state.map.clone()) }
            }
            Ask::Renew(renewal) => {
                self.renew(now, renewal)?;
                return Ok(Answer::Later(Wait::Node(renewal.node, renewal.epoch)));
            }
            Ask::Watch { process, who, epoch } => {
                self.watch(now, *process, who)?;
                return Ok(Answer::Later(Wait::Process(*process, *epoch)));
            }
            Ask::NewClient { process } => Tell::Client(self.new_client(now, *process)?),
            Ask::LeaveClient { process, client, is_clean } => {
                self.leave_client(*process, *client, *is_clean)?;
                Tell::Done
            }
            Ask::Unreachable { process, node, for_ns, .. } => {
                Tell::Decided(self.unreachable(now, *process, *node, *for_ns)?)
            }
            Ask::Close { agent, orders } => {
                let (epoch, map) = self.close(now, *agent, orders)?;
                Tell::Closed { epoch, map: Box::new(map) }
            }
            Ask::Publish { agent, orders, epoch } => {
                self.publish(*agent, orders, *epoch)?;
                Tell::Done
            }
            Ask::Completed { agent, order } => {
                self.completed(*agent, *order)?;
                Tell::Done
            }
            Ask::Forget { node } => {
                self.forget(now, *node)?;
                Tell::Done
            }
            Ask::Status => Tell::Status(Box::new(self.status(now, store))),
        };
        Ok(Answer::Now(tell))
    }

    /// The answer to somebody who waits, if there is news in what is stored (M-1) or it `is_due`. So whoever renews a lease never
    /// waits for the store.
    pub fn poll(&mut self, wait: &Wait, is_due: bool) -> Option<Tell> {
        let news = match *wait {
            Wait::Node(node, epoch) => self.news_for_node(node, epoch, is_due),
            Wait::Process(process, epoch) => self.news_for_process(process, epoch, is_due),
        };
        match news {
            Ok(news) => news.map(|news| Tell::News(Box::new(news))),
            Err(denial) => Some(Tell::Denied(denial)),
        }
    }
}
