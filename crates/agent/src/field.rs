//! What an agent works with.

use crate::AgentError;
use farrow_control::coordination::{Ask, Progress, Tell};
use farrow_control::map::{ClusterMap, HomeEntry, MemberEntry};
use farrow_control::message::{Reply, Request};
use farrow_fabric::Fabric;
use farrow_layout::{Epoch, NodeId};
use farrow_protocol::{Home, Member};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Nodes, links to them and a coordinator: of threads and sessions, or simulated. One order at a time uses it, so what it keeps
/// may be borrowed for as long as one call takes.
#[allow(async_fn_in_trait)] // Single-threaded throughout: no bound is missing.
pub trait Field<F: Fabric> {
    /// Time, buffers.
    fn fabric(&self) -> &F;

    /// The node whose agent this is.
    fn node(&self) -> NodeId;

    /// The latest map that is known here.
    fn map(&self) -> Arc<ClusterMap>;

    /// Goes by a map that the coordinator told the agent before it told the node.
    fn adopt(&self, map: &ClusterMap);

    /// How far an order is, for whoever asks.
    fn note(&self, progress: Progress);

    /// Asks the coordinator.
    ///
    /// # Errors
    /// [`AgentError::Denied`]: nothing was done. [`AgentError::Coordinator`]: it may have been.
    async fn ask(&self, ask: &Ask) -> Result<Tell, AgentError>;

    /// Asks several nodes the same things at once, in order at each. Answers for each node the reply to the last of them, or why
    /// one was not answered; the later ones were not asked then.
    async fn tell(
        &self,
        map: &ClusterMap,
        nodes: &[NodeId],
        requests: &[Request],
    ) -> Vec<Result<Reply, AgentError>>;

    /// A link to a node that is up, and its epoch. One that is at hand is made anew if it is of an earlier epoch than `epoch`.
    ///
    /// # Errors
    /// There is none.
    async fn link(
        &self,
        map: &ClusterMap,
        node: NodeId,
        epoch: Epoch,
    ) -> Result<(F::Link, Epoch), AgentError>;

    /// A replica of a home as this agent reaches it: over a link of no earlier epoch than `epoch`, and of none later than `map`
    /// (M-3).
    ///
    /// # Errors
    /// As [`Field::link`]; [`AgentError::NotNow`] if the link does not fit the map.
    async fn member(
        &self,
        map: &ClusterMap,
        member: &MemberEntry,
        epoch: Epoch,
    ) -> Result<Member<F::Link>, AgentError> {
        let plan = map.plan().map_err(|e| AgentError::NotNow(e.to_string()))?;
        let (link, of) = self.link(map, member.node, epoch).await?;
        check_fits(member.node, of, epoch..=map.epoch)?;
        Ok(Member { link, segment: plan.segment(member.segment) })
    }

    /// A home as it stands in `map`.
    ///
    /// # Errors
    /// As [`Field::member`]; or it has no member left.
    async fn home(&self, map: &ClusterMap, home: &HomeEntry) -> Result<Home<F::Link>, AgentError> {
        let mut members = Vec::with_capacity(home.members.len());
        for member in &home.members {
            members.push(self.member(map, member, home.epoch).await?);
        }
        if members.is_empty() {
            return Err(AgentError::NotNow(format!("home {} has no member left", home.id)));
        }
        let view = Home::new(home.id, members).of_epoch(home.epoch);
        Ok(if home.is_open { view } else { view.closed() })
    }
}

/// Whether a link that `node` gave is of one of the epochs that fit.
///
/// An earlier one dies with the fence that the agent relies on. A later one was handed out behind a fence that the agent's map
/// does not know: it survives that fence, and what is changed over it is changed in a view that others have opened since, by
/// somebody who takes an earlier one for granted, with other members.
fn check_fits(node: NodeId, of: Epoch, fitting: RangeInclusive<Epoch>) -> Result<(), AgentError> {
    match fitting.contains(&of) {
        true => Ok(()),
        false => Err(AgentError::NotNow(format!(
            "{node} gave a link of {of}, and {} to {} would fit",
            fitting.start(),
            fitting.end()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_a_later_fence_has_opened_is_left_alone_until_the_map_is_here() {
        let of = |of: u64, fitting: RangeInclusive<u64>| {
            check_fits(NodeId(1), Epoch(of), Epoch(*fitting.start())..=Epoch(*fitting.end()))
        };
        assert_eq!(of(7, 7..=7), Ok(()), "its own closing");
        assert!([6, 8].iter().all(|epoch| matches!(of(*epoch, 7..=7), Err(AgentError::NotNow(_)))));
        assert_eq!([3, 4, 5].map(|epoch| of(epoch, 3..=5)), [Ok(()), Ok(()), Ok(())], "an open home");
        let error = of(6, 3..=5).unwrap_err();
        assert!(!error.is_superseded() && !error.is_busy(), "it is tried again from the next map");
    }
}
