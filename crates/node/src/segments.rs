//! Which segments of a node's memory are as they were zeroed, and making others ready for a home.

use crate::OwnMemory;
use crate::format::{format_segment, hosted};
use farrow_control::map::ClusterMap;
use farrow_control::message::Refusal;
use farrow_layout::{Epoch, HomeId, NodeId, RemoteAddr};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Segments that were given to a home since the memory was formatted: to be emptied before they are given again. Thread-safe.
#[derive(Debug)]
pub struct Segments {
    node: NodeId,
    used: Mutex<BTreeSet<u32>>,
    /// Homes that some segment was prepared for.
    set_aside: Mutex<BTreeSet<HomeId>>,
}

impl Segments {
    /// Of memory that was just formatted for `node` as `map` says.
    pub fn new(map: &ClusterMap, node: NodeId) -> Segments {
        let used = hosted(map, node).iter().map(|hosted| hosted.segment).collect();
        Segments { node, used: Mutex::new(used), set_aside: Mutex::default() }
    }

    /// Whether a segment was ever prepared for a home, so that a view of it may name this node.
    pub fn is_set_aside(&self, home: HomeId) -> bool {
        self.set_aside.lock().unwrap_or_else(PoisonError::into_inner).contains(&home)
    }

    /// Empties a segment of `memory`, which has `room` of them, and says in its header whose it is. `latest` is the map that the
    /// node goes by.
    ///
    /// # Errors
    /// There is no such home or segment; or the segment holds a replica, or the node one of that home.
    ///
    /// # Panics
    /// If the map's geometry cannot be laid out.
    pub fn prepare(
        &self,
        memory: &impl OwnMemory,
        latest: &ClusterMap,
        room: u32,
        home: HomeId,
        segment: u32,
        epoch: Epoch,
    ) -> Result<(), Refusal> {
        if latest.homes.get(usize::from(home.0)).is_none() || segment >= room {
            return Err(Refusal::Bad(format!("there is no home {home}, or no segment {segment} here")));
        }
        if let Some(hosted) =
            hosted(latest, self.node).iter().find(|h| h.segment == segment || h.home == home)
        {
            return Err(Refusal::Bad(format!(
                "segment {} holds home {} already",
                hosted.segment, hosted.home
            )));
        }
        let plan = latest.plan().expect("a map in use has a geometry that can be laid out");
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.insert(segment) {
            let zeros = [0; 64 << 10];
            let (start, len) = (plan.segment(segment).header().0, plan.geometry().segment_len);
            for at in (0..len).step_by(zeros.len()) {
                let piece = &zeros[..zeros.len().min((len - at) as usize)];
                memory.store(RemoteAddr(start + at), piece);
            }
        }
        format_segment(memory, &plan.segment(segment), home, epoch);
        self.set_aside.lock().unwrap_or_else(PoisonError::into_inner).insert(home);
        Ok(())
    }
}
