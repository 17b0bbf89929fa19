//! Which GID of which port of which device to use toward a peer. Pure: everything it looks at is an argument.

use std::fmt;

use thiserror::Error;

use super::{Candidate, Gid, GidType, LinkLayer, PortState, Toward, Transport};

/// What the operator insists on. Each narrows the choice; a GID index also lifts the rules about which GIDs
/// are fit, since whoever names one has looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The device by name.
    pub device: Option<String>,
    /// The port, counted from 1.
    pub port: Option<u8>,
    /// The place in the GID table.
    pub gid_index: Option<u8>,
}

/// Every candidate with its verdict: the accepted ones first, best first, then the refused ones in the order
/// they came.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// One for each candidate.
    pub verdicts: Vec<Verdict>,
    toward: Toward,
}

/// What was decided about one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The candidate.
    pub candidate: Candidate,
    /// The decision.
    pub outcome: Outcome,
}

/// The decision about one candidate. Its text is a reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It can be used.
    Accepted(Preference),
    /// It cannot, because.
    Refused(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Accepted(preference) => preference.fmt(f),
            Outcome::Refused(reason) => f.write_str(reason),
        }
    }
}

/// Why a candidate is good, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference {
    /// The address dialled is this very GID.
    OwnsPeer,
    /// The kernel sends from this GID's address when it sends to the peer.
    SourceOfRoute,
    /// The peer is on the subnet of this GID.
    SameSubnet,
    /// Nothing says that the peer can be reached, and nothing says it cannot: a separate RDMA network, or
    /// InfiniBand, whose GIDs are no IP addresses.
    Unrelated,
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Preference::OwnsPeer => "has the address that was dialled",
            Preference::SourceOfRoute => "has the address the kernel sends from toward the peer",
            Preference::SameSubnet => "is on the peer's subnet",
            Preference::Unrelated => {
                "is usable, though nothing tells whether the peer can be reached from it"
            }
        })
    }
}

/// Weighs all of `candidates`.
pub fn choose(candidates: Vec<Candidate>, toward: &Toward, overrides: &Overrides) -> Ranking {
    let mut verdicts: Vec<Verdict> = candidates
        .into_iter()
        .map(|candidate| {
            let outcome = match refusal(&candidate, overrides) {
                Some(reason) => Outcome::Refused(reason),
                None => Outcome::Accepted(preference(&candidate, toward)),
            };
            Verdict { candidate, outcome }
        })
        .collect();
    // Stable, and total over what distinguishes candidates: two processes on one machine choose alike.
    verdicts.sort_by(|a, b| match (&a.outcome, &b.outcome) {
        (Outcome::Accepted(pa), Outcome::Accepted(pb)) => {
            (pa, place(&a.candidate)).cmp(&(pb, place(&b.candidate)))
        }
        (Outcome::Accepted(_), Outcome::Refused(_)) => std::cmp::Ordering::Less,
        (Outcome::Refused(_), Outcome::Accepted(_)) => std::cmp::Ordering::Greater,
        (Outcome::Refused(_), Outcome::Refused(_)) => std::cmp::Ordering::Equal,
    });
    Ranking { verdicts, toward: toward.clone() }
}

/// Among equals: hardware first, then by name.
fn place(candidate: &Candidate) -> (bool, &str, u8, u8) {
    (candidate.emulated, &candidate.device, candidate.port, candidate.gid_index)
}

fn refusal(candidate: &Candidate, overrides: &Overrides) -> Option<String> {
    if let Some(device) = overrides.device.as_ref().filter(|device| **device != candidate.device) {
        return Some(format!("device {device} was asked for"));
    }
    if let Some(port) = overrides.port.filter(|port| *port != candidate.port) {
        return Some(format!("port {port} was asked for"));
    }
    if let Some(index) = overrides.gid_index.filter(|index| *index != candidate.gid_index) {
        return Some(format!("GID index {index} was asked for"));
    }
    match candidate.transport {
        Transport::InfiniBand => {}
        Transport::Iwarp => return Some("iWARP has no remote atomics".to_owned()),
        Transport::Other => return Some("the device speaks neither InfiniBand nor RoCE".to_owned()),
    }
    if let PortState::Not(state) = &candidate.state {
        return Some(match &candidate.netdev {
            Some(netdev) => format!("the port is {state}; bring {netdev} up: ip link set {netdev} up"),
            None => format!("the port is {state}"),
        });
    }
    match &candidate.capability {
        Err(reason) => return Some(reason.clone()),
        Ok(capability) if !capability.has_atomics() => {
            return Some("the device has no remote atomics".to_owned());
        }
        Ok(_) => {}
    }
    if overrides.gid_index.is_some() { None } else { unfit_gid(candidate) }
}

/// The rules that a GID index given by the operator lifts.
fn unfit_gid(candidate: &Candidate) -> Option<String> {
    let Candidate { gid, gid_type, gid_index, link_layer, .. } = candidate;
    match (link_layer, gid_type) {
        (LinkLayer::InfiniBand, GidType::InfiniBand) => None,
        (LinkLayer::Ethernet, GidType::RoceV2) if gid.is_link_local() => {
            let netdev = candidate.netdev.as_deref().unwrap_or("its network device");
            Some(format!("the GID is link-local: give {netdev} an address, or ask for GID index {gid_index}"))
        }
        (LinkLayer::Ethernet, GidType::RoceV2) => None,
        (_, GidType::RoceV1) => {
            Some(format!("RoCE v1 passes no router: use a RoCE v2 GID, or ask for GID index {gid_index}"))
        }
        (_, other) => {
            Some(format!("GID type {other} is not one for this port; ask for GID index {gid_index} if it is"))
        }
    }
}

fn preference(candidate: &Candidate, toward: &Toward) -> Preference {
    // An InfiniBand GID is a prefix and a GUID. It may look like an IP address, and is none.
    if candidate.link_layer == LinkLayer::InfiniBand {
        return Preference::Unrelated;
    }
    let own = candidate.gid.to_ip();
    let same_subnet = toward.subnets.iter().any(|subnet| {
        let here = candidate.netdev.as_ref().is_none_or(|netdev| *netdev == subnet.netdev);
        here && subnet.contains(own) && subnet.contains(toward.peer)
    });
    if own == toward.peer {
        Preference::OwnsPeer
    } else if toward.source == Some(own) {
        Preference::SourceOfRoute
    } else if same_subnet {
        Preference::SameSubnet
    } else {
        Preference::Unrelated
    }
}

impl Ranking {
    /// The best candidate.
    ///
    /// # Errors
    /// [`NoDevice`] has the reason for each that was refused.
    pub fn best(&self) -> Result<&Candidate, NoDevice> {
        match self.verdicts.first() {
            Some(Verdict { candidate, outcome: Outcome::Accepted(_) }) => Ok(candidate),
            _ => Err(NoDevice { toward: self.toward.clone(), refused: self.verdicts.clone() }),
        }
    }

    /// The best candidate with this very GID: for a side that has told a peer its GID before.
    pub fn with_gid(&self, gid: Gid) -> Option<&Candidate> {
        let accepted = |verdict: &&Verdict| matches!(verdict.outcome, Outcome::Accepted(_));
        self.verdicts.iter().filter(accepted).map(|verdict| &verdict.candidate).find(|c| c.gid == gid)
    }
}

/// A line for each candidate, as a diagnosis shows it.
impl fmt::Display for Ranking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Verdict { candidate, outcome } in &self.verdicts {
            let mark = if matches!(outcome, Outcome::Accepted(_)) { "+" } else { "-" };
            writeln!(f, "{mark} {candidate}: {outcome}")?;
        }
        Ok(())
    }
}

/// There is no device to reach the peer with.
#[derive(Clone, Debug, Error)]
pub struct NoDevice {
    toward: Toward,
    refused: Vec<Verdict>,
}

impl fmt::Display for NoDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused.is_empty() {
            return f.write_str(
                "this machine has no RDMA device with an address: load the driver of the RNIC, set up Soft-RoCE \
                 (scripts/rxe), or use another fabric",
            );
        }
        write!(f, "no RDMA device can be used toward {}:", self.toward.peer)?;
        for Verdict { candidate, outcome } in &self.refused {
            write!(f, "\n  {candidate}: {outcome}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
