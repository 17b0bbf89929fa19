//! The agent that takes homes from one view to the next.

use super::equalise::{Equalised, equalise};
use super::tables::equalise_tables;
use crate::mutant::{self, Mutant};
use crate::spread::spread;
use crate::{Context, Events, Failure, Home};
use farrow_fabric::{Fabric, Meter};
use farrow_layout::{Epoch, KeyHash};
use std::cell::Cell;

/// Homes that are made alike at the same time.
const HOMES_AT_ONCE: usize = 16;

/// What an agent needs of the control plane, for the homes of one order.
#[allow(async_fn_in_trait)] // Single-threaded throughout: no bound is missing.
pub trait Close<F: Fabric> {
    /// Why the control plane could not.
    type Error: From<Failure>;

    /// Breaks every link of an epoch before `epoch` at every member that is left, and gives this agent alone new ones. When it
    /// returns, no verb of an earlier epoch will execute any more. Returns all homes of the order, each with the members that
    /// are left.
    ///
    /// # Errors
    /// Fewer members are left than the policy's floor; or the epoch is not the latest: another agent has taken over.
    async fn close(&self, epoch: Epoch) -> Result<Vec<Home<F::Link>>, Self::Error>;

    /// Opens the views: from now on clients get links of their epoch.
    ///
    /// # Errors
    /// Another agent has taken over: its views count.
    async fn publish(&self, views: Vec<Home<F::Link>>) -> Result<(), Self::Error>;
}

/// What a change of view came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Homes.
    pub homes: u64,
    /// Over all partitions of all homes.
    pub equalised: Equalised,
    /// Extents of whose records the members said different things.
    pub extents_differed: u64,
}

impl Changed {
    /// The sum of both.
    pub fn and(self, other: Changed) -> Changed {
        Changed {
            homes: self.homes + other.homes,
            equalised: self.equalised.and(other.equalised),
            extents_differed: self.extents_differed + other.extents_differed,
        }
    }
}

/// Takes the homes of an order to their views of `epoch`: closes them, makes their replicas alike, publishes.
///
/// May be stopped at any await and begun anew by anybody under a later epoch: closing again breaks the links of whoever was
/// at it before.
///
/// # Errors
/// The control plane's, or a member was lost meanwhile: begin anew under a later epoch.
pub async fn change_view<F: Fabric, K: Close<F>>(
    fabric: &F,
    events: &Events,
    control: &K,
    epoch: Epoch,
) -> Result<Changed, K::Error> {
    let homes = control.close(epoch).await?;
    let changed = Cell::new(Changed::default());
    let meter = Meter::new();
    spread(homes.iter(), HOMES_AT_ONCE, async |home| {
        let done = make_alike(fabric, events, &meter, home).await?;
        changed.set(changed.get().and(done));
        Ok::<(), Failure>(())
    })
    .await?;
    control.publish(homes).await?;
    Ok(changed.get())
}

/// Makes the members of a closed home alike: their tables of extents and every slot of every partition.
///
/// # Errors
/// A member was lost: close again under a later epoch, and begin anew.
pub async fn make_alike<F: Fabric>(
    fabric: &F,
    events: &Events,
    meter: &Meter,
    home: &Home<F::Link>,
) -> Result<Changed, Failure> {
    let mut changed = Changed { homes: 1, ..Changed::default() };
    if mutant::is(Mutant::EqualisingSkipped) {
        return Ok(changed);
    }
    changed.extents_differed = equalise_tables(fabric, meter, home).await?;
    for partition in 0..home.primary().segment.plan().geometry().partitions {
        // It is about no key in particular.
        let key = b"";
        let hash = KeyHash::of(key);
        let cx = Context { fabric, meter, events, home, partition, key, hash };
        changed.equalised = changed.equalised.and(equalise(&cx).await?);
    }
    Ok(changed)
}
