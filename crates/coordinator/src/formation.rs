//! The cluster forms: homes are placed on the nodes that are there.

use crate::{Coordinator, Instant, Settings};
use farrow_control::map::{ClusterMap, HomeEntry};
use farrow_control::placement;
use farrow_layout::{Epoch, Geometry, NodeId};

impl Coordinator {
    /// Places homes if all nodes are there that are waited for.
    pub(crate) fn form(&mut self, now: Instant) {
        if self.state.is_formed() {
            return;
        }
        let nodes = self.nodes_there(now);
        if let Ok((homes, geometry)) =
            formation(&self.settings, &self.state.map, &self.state.memory_len, &nodes)
        {
            let map = &mut self.state_mut().map;
            map.homes = homes;
            map.geometry = geometry;
            map.epoch = Epoch(1);
        }
    }

    fn nodes_there(&self, now: Instant) -> Vec<NodeId> {
        let nodes = self.state.map.nodes.iter().map(|n| n.id);
        nodes.filter(|&n| self.state.is_staying(n) && !self.is_silent(n, now)).collect()
    }

    /// Why there are no homes yet.
    pub(crate) fn why_not_formed(&self, now: Instant) -> Option<String> {
        let nodes = self.nodes_there(now);
        match self.state.is_formed() {
            true => None,
            false => formation(&self.settings, &self.state.map, &self.state.memory_len, &nodes).err(),
        }
    }
}

/// Homes and sizes for a cluster of `nodes`, or why it has to wait.
fn formation(
    settings: &Settings,
    map: &ClusterMap,
    memory_len: &[u64],
    nodes: &[NodeId],
) -> Result<(Vec<HomeEntry>, Geometry), String> {
    let copies = settings.sizes.policy.copies();
    let needed = usize::from(settings.nodes_to_form).max(copies);
    if nodes.len() < needed {
        return Err(format!("the cluster forms when {needed} nodes are there: {} are", nodes.len()));
    }
    let per_node = usize::from(settings.homes_per_node);
    if nodes.len() * per_node > usize::from(u16::MAX) || per_node == 0 {
        return Err(format!("{per_node} homes on each of {} nodes cannot be numbered", nodes.len()));
    }
    let domains: Vec<&str> = nodes.iter().map(|n| map.nodes[usize::from(n.0)].domain.as_str()).collect();
    let mut homes = placement::homes_over(&domains, copies, per_node);
    let fullest = homes.iter().flat_map(|h| &h.members).map(|m| m.segment as usize + 1).max().unwrap_or(1);
    let segments = fullest.max(segments_wanted(
        homes.len() * copies,
        nodes.len(),
        copies,
        settings.headroom_nodes.into(),
    ));
    let least = nodes.iter().map(|n| memory_len[usize::from(n.0)]).min().unwrap_or(0);
    let geometry = settings.sizes.geometry(homes.len(), segments as u64, least).map_err(|e| e.to_string())?;
    for member in homes.iter_mut().flat_map(|home| &mut home.members) {
        member.node = nodes[usize::from(member.node.0)];
    }
    Ok((homes, geometry))
}

/// Segments for each node, so that all replicas find room when `headroom` nodes are gone, if enough are left then.
pub(crate) fn segments_wanted(replicas: usize, nodes: usize, copies: usize, headroom: usize) -> usize {
    match nodes.saturating_sub(headroom) {
        left if left >= copies => replicas.div_ceil(left),
        _ => replicas.div_ceil(nodes),
    }
}
