//! A link to one node's memory, whatever the state of the others: for `inspect` and `doctor`.

use crate::connect::Reach;
use crate::scan::Scan;
use anyhow::{Context, Result, anyhow};
use farrow_client::DialError;
use farrow_control::message::Request;
use farrow_fabric::{Buffer, Chain, Fabric, Link, block_on_for};
use farrow_layout::{ClientId, NodeId, Plan, RemoteAddr, SegmentPlan};
use farrow_transport::{AnyFabric, AnyLink, FabricOptions, Session};
use std::time::{Duration, Instant};

/// A link to one node. The node forgets it when this is dropped.
pub struct Probe {
    session: Session,
    fabric: AnyFabric,
    link: AnyLink,
    client: ClientId,
    patience: Duration,
}

impl Probe {
    /// Dials a node, joins, and links to its memory.
    pub fn dial(reach: &Reach, address: &str) -> Result<Probe, DialError> {
        let session = Session::dial(address, &reach.dial)?;
        let fabric = AnyFabric::new(&FabricOptions {
            spin: reach.options.spin,
            rdma: Some(reach.dial.rdma.clone()),
            ..FabricOptions::default()
        })
        .map_err(|why| DialError::Transport { address: address.to_owned(), why })?;
        let client = ClientId((fabric.random() as u32).max(1));
        session.join(client)?;
        let (link, _) = session.link(&fabric, client)?;
        Ok(Probe { session, fabric, link, client, patience: reach.options.deadline })
    }

    /// The session that the link was made on.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.session.node()
    }

    /// Where everything lies in its memory.
    pub fn plan(&self) -> Result<Plan> {
        self.session.welcome().map.plan().map_err(|e| anyhow!("node {}: {e}", self.session.address()))
    }

    /// READs `len` bytes.
    pub fn read(&self, at: RemoteAddr, len: usize) -> Result<Buffer> {
        let buffer = self.fabric.buffers().take(len)?;
        let read = self.link.post(Chain::new().read(at, buffer.whole()));
        let answer = block_on_for(&self.fabric, self.patience, read);
        let answer = answer.ok_or_else(|| anyhow!("no answer within {:?}", self.patience));
        answer
            .and_then(|a| Ok(a?))
            .with_context(|| format!("cannot read {len} bytes at {at} of {}", self.node()))?;
        Ok(buffer)
    }

    /// All slots of a partition of one of its segments.
    pub fn scan<'a>(&'a self, segment: &'a SegmentPlan, partition: u32) -> Scan<'a, AnyFabric> {
        Scan::new(&self.fabric, &self.link, segment, partition, self.patience)
    }

    /// The shortest of several READs of 64 bytes: the way there and back, with nothing else on it.
    pub fn time_a_read(&self) -> Result<Duration> {
        let time = || {
            let begun = Instant::now();
            self.read(RemoteAddr(0), 64).map(|_| begun.elapsed())
        };
        let mut best = time()?;
        for _ in 0..31 {
            best = best.min(time()?);
        }
        Ok(best)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Whether it hears us or not, the session ends here, and with it the client.
        let _ = self.session.call(&Request::Leave { client: self.client });
    }
}
