//! Sessions with nodes, as those who ask see them.

use super::cluster::Cluster;
use super::life::{Life, NodeAsk, NodeTell};
use super::net::Party;
use crate::whole::mailbox::Mailbox;
use farrow_control::map::NodeEntry;
use farrow_control::message::{Refusal, Reply, Request};
use farrow_fabric::within;
use farrow_node::SessionId;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    Refused(Refusal),
    /// No answer came: it may have been done, or will be.
    Silent,
}

/// A session with a node. It ends when it is dropped.
pub(super) struct Session {
    cluster: Rc<Cluster>,
    life: Rc<Life>,
    id: SessionId,
    from: Party,
    is_broken: Cell<bool>,
}

impl Session {
    /// Dials the node that a map names, in that life of it; `None` when it does not answer in time.
    pub(super) async fn dial(
        cluster: &Rc<Cluster>,
        from: Party,
        entry: &NodeEntry,
        patience: Duration,
    ) -> Option<Session> {
        let reply = Mailbox::new();
        let (inner, entry, answer) = (cluster.clone(), entry.clone(), reply.clone());
        cluster.spawn(async move {
            let to = Party::Machine(inner.machine_of(&entry).number);
            if !inner.travel(from, to).await {
                return;
            }
            let Some(life) = inner.life_of(&entry) else { return };
            if inner.travel(to, from).await {
                let _ = answer.send(life);
            }
        });
        let life = within(&cluster.time, cluster.now() + patience, reply.receive()).await.flatten()?;
        let id = SessionId(cluster.fresh());
        Some(Session { cluster: cluster.clone(), life, id, from, is_broken: Cell::new(false) })
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.get() || self.life.is_over.get()
    }

    /// One request and its answer. A session without an answer in time is broken.
    pub(super) async fn ask(&self, ask: NodeAsk, patience: Duration) -> Result<NodeTell, NotDone> {
        if self.is_broken() {
            return Err(NotDone::Silent);
        }
        let reply: Mailbox<Result<NodeTell, Refusal>> = Mailbox::new();
        let (cluster, life, answer) = (self.cluster.clone(), self.life.clone(), reply.clone());
        let (from, session, to) = (self.from, self.id, Party::Machine(life.machine));
        self.cluster.spawn(async move {
            if !cluster.travel(from, to).await || life.is_over.get() {
                return;
            }
            let (inner, node) = (cluster.clone(), life.clone());
            life.spawn(&cluster, &cluster.time, async move {
                let what = match &ask {
                    NodeAsk::Link(client, _) => format!("a link for {client}"),
                    NodeAsk::Plain(request) => format!("{request:?}"),
                };
                let told = node.carry_out(&inner, session, from, ask).await;
                inner.world.note(|| {
                    let said = match &told {
                        Ok(NodeTell::Link(link, epoch)) => format!("{link:?} of {epoch}"),
                        Ok(NodeTell::Plain(reply)) => format!("{reply:?}"),
                        Err(refusal) => refusal.to_string(),
                    };
                    format!("{}: {from:?} asks {what} -> {said}", node.node)
                });
                let cluster = inner.clone();
                inner.spawn(async move {
                    if cluster.travel(to, from).await {
                        let _ = answer.send(told);
                    }
                });
            });
        });
        let deadline = self.cluster.now() + patience;
        let told = within(&self.cluster.time, deadline, reply.receive()).await.flatten();
        told.ok_or_else(|| {
            self.is_broken.set(true);
            NotDone::Silent
        })?
        .map_err(NotDone::Refused)
    }

    /// As [`Session::ask`], of what the product's messages say.
    pub(super) async fn call(&self, request: Request, patience: Duration) -> Result<Reply, NotDone> {
        match self.ask(NodeAsk::Plain(request), patience).await? {
            NodeTell::Plain(reply) => Ok(reply),
            NodeTell::Link(..) => unreachable!("no link was asked for"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.cluster.is_ended.get() {
            return;
        }
        let (cluster, life, id) = (self.cluster.clone(), self.life.clone(), self.id);
        let (from, to) = (self.from, Party::Machine(life.machine));
        self.cluster.spawn(async move {
            // Across a partition the node finds out by itself, later.
            if !cluster.travel(from, to).await {
                cluster.sleep(2 * cluster.lease_ns()).await;
            }
            if !life.is_over.get() {
                let (inner, node) = (cluster.clone(), life.clone());
                life.spawn(&cluster, &cluster.time, async move { node.end_session(&inner, id) });
            }
        });
    }
}
