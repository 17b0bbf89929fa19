//! Cleaning up behind a lost client (`docs/protocols/restore.md`).

use crate::{AgentError, Field};
use farrow_control::coordination::{Ask, Order};
use farrow_control::map::{ClusterMap, CommitKind, HomeEntry};
use farrow_control::message::{self, ExtentGrant, Reply, Request};
use farrow_fabric::{Fabric, Meter};
use farrow_layout::{ClientId, NodeId};
use farrow_protocol::recover::OpenGrant;
use farrow_protocol::{Events, recover_client};

/// Evicts `client`, completes or takes back what it left half done, and seals what it had open.
///
/// # Errors
/// [`AgentError`]: begin anew, unless [`AgentError::is_superseded`].
pub async fn recover<F: Fabric>(
    field: &impl Field<F>,
    events: &Events,
    order: &Order,
    client: ClientId,
) -> Result<(), AgentError> {
    let map = field.map();
    let up: Vec<NodeId> = map.nodes.iter().filter(|entry| entry.is_up()).map(|entry| entry.id).collect();
    let mut open: Vec<message::OpenGrant> = Vec::new();
    // A primary that has not heard yet that it is one would say that nothing is open there.
    let adopt = Request::Adopt { map: Box::new(ClusterMap::clone(&map)) };
    for answer in field.tell(&map, &up, &[adopt, Request::Evict { client }]).await {
        match answer? {
            Reply::Evicted { open: here } => open.extend(here),
            other => return Err(AgentError::Node(format!("an answer that does not fit: {other:?}"))),
        }
    }
    for entry in map.homes.iter().filter(|entry| !entry.members.is_empty()) {
        if !entry.is_open {
            return Err(AgentError::NotNow(format!("home {} is closed just now", entry.id)));
        }
        let grants: Vec<_> =
            open.iter().filter(|open| open.home == entry.id).map(|open| open.grant).collect();
        let used = match map.commit {
            CommitKind::Colocated => put_in_order(field, events, &map, entry, client, &grants).await?,
            // Its rounds are their master's to finish; what is in its extents stays as it is.
            CommitKind::Snapshot => grants.iter().map(|grant| grant.len).collect(),
        };
        for (grant, used) in grants.into_iter().zip(used) {
            let seal = Request::SealFor { client, home: entry.id, grant, used };
            let sealed = field.tell(&map, &[entry.members[0].node], &[seal]).await;
            sealed.into_iter().try_for_each(|sealed| sealed.map(drop))?;
        }
    }
    field.ask(&Ask::Completed { agent: field.node(), order: order.id }).await?;
    tracing::info!(order = %order.id, %client, grants = open.len(), "cleaned up behind a lost client");
    Ok(())
}

/// What of each grant is used.
async fn put_in_order<F: Fabric>(
    field: &impl Field<F>,
    events: &Events,
    map: &ClusterMap,
    entry: &HomeEntry,
    client: ClientId,
    grants: &[ExtentGrant],
) -> Result<Vec<u64>, AgentError> {
    let home = field.home(map, entry).await?;
    let grants: Vec<_> = grants.iter().map(|g| OpenGrant { first: g.first, count: g.count }).collect();
    let recovered = recover_client(field.fabric(), events, &Meter::new(), &home, client, &grants).await?;
    let used_of = |grant: &OpenGrant| recovered.quiet.iter().find(|quiet| quiet.grant == *grant);
    Ok(grants.iter().map(|grant| used_of(grant).map_or(0, |quiet| quiet.used)).collect())
}
