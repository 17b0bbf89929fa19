//! The node's end of RDMA links.

use farrow_config::{Fabric, Transport};
use farrow_control::message::{RdmaChunk, RdmaEnd, RdmaPort};
use farrow_fabric_shm::NodeMemory;
use farrow_fabric_verbs::device::{Candidate, Outcome, Overrides, Toward, candidates, choose};
use farrow_fabric_verbs::{HostOptions, VerbsHost, VerbsLinkId, sys};
use farrow_layout::{ClientId, Epoch};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Queue pairs and registered memory of one node. Calls come from many threads.
pub(crate) trait RdmaHost: Send + Sync {
    /// The ports that links can be made on; empty when RDMA is not offered.
    fn ports(&self) -> Vec<RdmaPort>;

    /// For people: what is offered, or why nothing is.
    fn note(&self) -> String;

    /// Makes the node's end of a link of `epoch` for `client`, connected to `end` and ready to receive. The client has no
    /// other: an earlier one was disconnected.
    ///
    /// # Errors
    /// For people: why not, and what to do.
    fn connect(&self, client: ClientId, epoch: Epoch, end: &RdmaEnd) -> Result<RdmaLink, String>;

    /// Destroys the client's queue pair, if it has one. When it returns, nothing posted on it will execute.
    fn disconnect(&self, client: ClientId);

    /// Destroys all queue pairs, of whatever epoch: the node has no lease any more. When it returns, nothing posted on them will
    /// execute.
    fn disconnect_all(&self);

    /// Destroys all queue pairs of epochs before `epoch`. When it returns `Ok`, nothing posted on them will execute.
    /// Returns how many there were.
    ///
    /// # Errors
    /// For people: which could not be destroyed. It may be called again.
    fn fence(&self, epoch: Epoch) -> Result<u32, String>;
}

/// The node's end of a link, as the client needs to know it.
#[derive(Debug)]
pub(crate) struct RdmaLink {
    pub(crate) end: RdmaEnd,
    pub(crate) memory: Vec<RdmaChunk>,
    pub(crate) epoch: Epoch,
}

/// Finds a device toward `own` (the address that clients dial) and registers `memory` with it. Where that is not possible,
/// the result says so in its note and offers no port.
pub(crate) fn open(config: &Fabric, memory: &NodeMemory, own: IpAddr, epoch: Epoch) -> Box<dyn RdmaHost> {
    if config.transport == Transport::Shm {
        return Box::new(NoRdma { note: "fabric.transport is shm".to_owned() });
    }
    match start(config, memory, own, epoch) {
        Ok(ports) => Box::new(ports),
        Err(note) => Box::new(NoRdma { note }),
    }
}

fn start(config: &Fabric, memory: &NodeMemory, own: IpAddr, epoch: Epoch) -> Result<Ports, String> {
    sys::Verbs::load().map_err(|e| e.to_string())?;
    let overrides = Overrides {
        device: config.device.clone(),
        port: config.chosen_port(),
        gid_index: config.chosen_gid_index(),
    };
    let found = candidates().map_err(|e| e.to_string())?;
    let ranking = choose(found, &Toward::observe(own), &overrides);
    let best = ranking.best().map_err(|e| e.to_string())?;
    // Every GID of the best device: the memory is registered with it once, and clients choose what they reach.
    let ports: Vec<Candidate> = ranking
        .verdicts
        .iter()
        .filter(|v| matches!(v.outcome, Outcome::Accepted(_)) && v.candidate.device == best.device)
        .map(|v| v.candidate.clone())
        .collect();
    let why = ranking.verdicts.first().map(|v| v.outcome.to_string()).unwrap_or_default();
    let host = VerbsHost::start(&ports, &memory.mapping(), HostOptions::default(), epoch.0)
        .map_err(|e| e.to_string())?;
    Ok(Ports { note: format!("{best}: {why}"), host, links: Mutex::default() })
}

/// RDMA ports, and who is linked to them.
struct Ports {
    note: String,
    host: VerbsHost,
    links: Mutex<BTreeMap<ClientId, VerbsLinkId>>,
}

impl Ports {
    fn links(&self) -> MutexGuard<'_, BTreeMap<ClientId, VerbsLinkId>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RdmaHost for Ports {
    fn ports(&self) -> Vec<RdmaPort> {
        self.host.ports()
    }

    fn note(&self) -> String {
        self.note.clone()
    }

    fn connect(&self, client: ClientId, epoch: Epoch, end: &RdmaEnd) -> Result<RdmaLink, String> {
        self.disconnect(client);
        let accepted = self.host.accept(end, None).map_err(|e| e.to_string())?;
        if accepted.epoch != epoch.0 {
            self.host.close(accepted.link);
            return Err("the cluster moved on to another epoch meanwhile: try again".to_owned());
        }
        self.links().insert(client, accepted.link);
        Ok(RdmaLink { end: accepted.end, memory: accepted.memory, epoch })
    }

    fn disconnect(&self, client: ClientId) {
        if let Some(link) = self.links().remove(&client) {
            self.host.close(link);
        }
    }

    fn disconnect_all(&self) {
        for (_, link) in std::mem::take(&mut *self.links()) {
            self.host.close(link);
        }
    }

    fn fence(&self, epoch: Epoch) -> Result<u32, String> {
        if self.host.epoch() >= epoch.0 {
            return Ok(0);
        }
        let broken = self.host.fence(epoch.0).map_err(|e| e.to_string())?;
        self.links().clear();
        Ok(u32::try_from(broken).unwrap_or(u32::MAX))
    }
}

/// RDMA is not offered.
struct NoRdma {
    note: String,
}

impl RdmaHost for NoRdma {
    fn ports(&self) -> Vec<RdmaPort> {
        Vec::new()
    }

    fn note(&self) -> String {
        self.note.clone()
    }

    fn connect(&self, _: ClientId, _: Epoch, _: &RdmaEnd) -> Result<RdmaLink, String> {
        Err(format!("this node offers no RDMA: {}", self.note))
    }

    fn disconnect(&self, _: ClientId) {}

    fn disconnect_all(&self) {}

    fn fence(&self, _: Epoch) -> Result<u32, String> {
        Ok(0)
    }
}
