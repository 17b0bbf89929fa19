//! Changing views: homes are closed at the coordinator, then at their nodes, made alike, and opened.

use crate::{AgentError, Field};
use farrow_control::coordination::{Ask, Order, OrderId, Task, Tell, closed_homes};
use farrow_control::map::ClusterMap;
use farrow_control::message::Request;
use farrow_fabric::Fabric;
use farrow_layout::{Epoch, NodeId};
use farrow_protocol::{Changed, Close, Events, Home};
use std::collections::BTreeSet;
use std::marker::PhantomData;

/// Carries out an order to change views.
///
/// # Errors
/// [`AgentError`]: homes may be closed now. Begin anew, unless [`AgentError::is_superseded`].
pub async fn change_view<F: Fabric, W: Field<F>>(
    field: &W,
    events: &Events,
    order: &Order,
) -> Result<Changed, AgentError> {
    let Task::ChangeView { deposed, .. } = &order.task else {
        return Err(AgentError::NotNow("this is not an order to change views".into()));
    };
    let orders = vec![order.id];
    let (epoch, map) = close(field, &orders).await?;
    tracing::info!(order = %order.id, %epoch, ?deposed, "changing views");
    let control = Closing { field, map, deposed, orders, fabric: PhantomData };
    let changed = farrow_protocol::change_view(field.fabric(), events, &control, epoch).await?;
    let (slots, differed) = (changed.equalised.slots, changed.equalised.differed);
    tracing::info!(order = %order.id, %epoch, homes = changed.homes, slots, differed, "views are open");
    Ok(changed)
}

/// Has the coordinator close the homes of `orders`. The epoch, and the map that says so.
pub(crate) async fn close<F: Fabric>(
    field: &impl Field<F>,
    orders: &[OrderId],
) -> Result<(Epoch, ClusterMap), AgentError> {
    match field.ask(&Ask::Close { agent: field.node(), orders: orders.to_vec() }).await? {
        Tell::Closed { epoch, map } => {
            field.adopt(&map);
            Ok((epoch, *map))
        }
        other => Err(AgentError::Coordinator(format!("an answer that does not fit: {other:?}"))),
    }
}

/// Has the coordinator open what [`close`] has closed.
pub(crate) async fn publish<F: Fabric>(
    field: &impl Field<F>,
    orders: &[OrderId],
    epoch: Epoch,
) -> Result<(), AgentError> {
    field.ask(&Ask::Publish { agent: field.node(), orders: orders.to_vec(), epoch }).await?;
    Ok(())
}

/// Fences `nodes`, each of which first hears of the map that says why. When it returns `Ok`, no verb of an earlier epoch will
/// execute at any of them, and none of them keeps a promise to `deposed`.
pub(crate) async fn fence<F: Fabric>(
    field: &impl Field<F>,
    map: &ClusterMap,
    nodes: BTreeSet<NodeId>,
    epoch: Epoch,
    deposed: &[NodeId],
) -> Result<(), AgentError> {
    let nodes: Vec<NodeId> = nodes.into_iter().collect();
    let adopt = Request::Adopt { map: Box::new(map.clone()) };
    let fence = Request::Fence { epoch, deposed: deposed.to_vec() };
    let fenced = field.tell(map, &nodes, &[adopt, fence]).await;
    fenced.into_iter().try_for_each(|fenced| fenced.map(drop))
}

/// The homes of one closing.
struct Closing<'a, F, W> {
    field: &'a W,
    map: ClusterMap,
    deposed: &'a [NodeId],
    orders: Vec<OrderId>,
    fabric: PhantomData<F>,
}

impl<F: Fabric, W: Field<F>> Close<F> for Closing<'_, F, W> {
    type Error = AgentError;

    async fn close(&self, epoch: Epoch) -> Result<Vec<Home<F::Link>>, AgentError> {
        let closed = || closed_homes(&self.map, epoch).filter(|home| !home.members.is_empty());
        let nodes = closed().flat_map(|home| home.members.iter().map(|member| member.node)).collect();
        fence(self.field, &self.map, nodes, epoch, self.deposed).await?;
        let mut homes = Vec::new();
        for home in closed() {
            homes.push(self.field.home(&self.map, home).await?);
        }
        Ok(homes)
    }

    async fn publish(&self, homes: Vec<Home<F::Link>>) -> Result<(), AgentError> {
        match homes.first() {
            Some(home) => publish(self.field, &self.orders, home.epoch()).await,
            None => Ok(()),
        }
    }
}
