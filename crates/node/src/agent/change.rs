//! Changing views: homes are closed at the coordinator, then at their nodes, made alike, and opened.

use super::field::{AgentError, Field};
use farrow_control::coordination::{Ask, Order, OrderId, Task, Tell, closed_homes};
use farrow_control::map::ClusterMap;
use farrow_control::message::Request;
use farrow_fabric::block_on;
use farrow_layout::{Epoch, NodeId};
use farrow_protocol::{Close, Events, Home};
use farrow_transport::{AnyFabric, AnyLink};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Carries out an order to change views.
pub(super) fn change_view(field: &mut Field, order: &Order) -> Result<(), AgentError> {
    let Task::ChangeView { deposed, .. } = &order.task else {
        return Err(AgentError::Other("not an order to change views".into()));
    };
    let orders = vec![order.id];
    let (epoch, map) = close(field, &orders)?;
    tracing::info!(order = %order.id, %epoch, ?deposed, "changing views");
    let fabric = field.fabric.clone();
    let control = Closing { field: RefCell::new(field), map, deposed: deposed.clone(), orders };
    let changed =
        block_on(&fabric, farrow_protocol::change_view(&fabric, &Events::default(), &control, epoch))?;
    tracing::info!(
        order = %order.id, %epoch, slots = changed.equalised.slots, differed = changed.equalised.differed,
        "views are open"
    );
    Ok(())
}

/// Has the coordinator close the homes of `orders`. The epoch, and the map that says so.
pub(super) fn close(field: &mut Field, orders: &[OrderId]) -> Result<(Epoch, ClusterMap), AgentError> {
    match field.ask(&Ask::Close { agent: field.node(), orders: orders.to_vec() })? {
        Tell::Closed { epoch, map } => {
            field.adopt(&map);
            Ok((epoch, *map))
        }
        other => Err(AgentError::Other(format!("an answer that does not fit: {other:?}"))),
    }
}

/// Has the coordinator open what [`close`] has closed.
pub(super) fn publish(field: &mut Field, orders: &[OrderId], epoch: Epoch) -> Result<(), AgentError> {
    field.ask(&Ask::Publish { agent: field.node(), orders: orders.to_vec(), epoch })?;
    Ok(())
}

/// Fences `nodes`, each of which first hears of the map that says why. When it returns `Ok`, no verb of an earlier epoch will
/// execute at any of them, and none of them keeps a promise to `deposed`.
pub(super) fn fence(
    field: &mut Field,
    map: &ClusterMap,
    nodes: &BTreeSet<NodeId>,
    epoch: Epoch,
    deposed: &[NodeId],
) -> Result<(), AgentError> {
    let nodes: Vec<NodeId> = nodes.iter().copied().collect();
    let adopt = Request::Adopt { map: Box::new(map.clone()) };
    let fence = Request::Fence { epoch, deposed: deposed.to_vec() };
    field.tell_all(map, &nodes, &[adopt, fence]).into_iter().try_for_each(|fenced| fenced.map(drop))
}

/// The homes of one closing.
struct Closing<'a> {
    field: RefCell<&'a mut Field>,
    map: ClusterMap,
    deposed: Vec<NodeId>,
    orders: Vec<OrderId>,
}

// The borrows end within each step: this thread does nothing else meanwhile.
impl Close<AnyFabric> for Closing<'_> {
    type Error = AgentError;

    async fn close(&self, epoch: Epoch) -> Result<Vec<Home<AnyLink>>, AgentError> {
        let field = &mut **self.field.borrow_mut();
        let homes = || closed_homes(&self.map, epoch).filter(|home| !home.members.is_empty());
        let nodes = homes().flat_map(|home| home.members.iter().map(|member| member.node)).collect();
        fence(field, &self.map, &nodes, epoch, &self.deposed)?;
        homes().map(|home| field.home(&self.map, home)).collect()
    }

    async fn publish(&self, homes: Vec<Home<AnyLink>>) -> Result<(), AgentError> {
        let Some(epoch) = homes.first().map(Home::epoch) else { return Ok(()) };
        publish(&mut self.field.borrow_mut(), &self.orders, epoch)
    }
}
