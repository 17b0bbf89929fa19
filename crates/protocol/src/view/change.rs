//! The agent that takes a home from one view to the next.

use super::equalise::{Equalised, equalise};
use crate::mutant::{self, Mutant};
use crate::{Context, Events, Failure, Home};
use farrow_fabric::{Fabric, Meter};
use farrow_layout::{Epoch, KeyHash};

/// What an agent needs of the control plane, for one home.
#[allow(async_fn_in_trait)] // Single-threaded throughout: no bound is missing.
pub trait Close<F: Fabric> {
    /// Why the control plane could not.
    type Error: From<Failure>;

    /// Breaks every link of an epoch before `epoch` at every member that is left, and gives this agent alone new ones. When it
    /// returns, no verb of an earlier epoch will execute any more.
    ///
    /// # Errors
    /// Fewer members are left than the policy's floor; or the epoch is not the latest: another agent has taken over.
    async fn close(&self, epoch: Epoch) -> Result<Home<F::Link>, Self::Error>;

    /// Opens the view: from now on clients get links of its epoch.
    ///
    /// # Errors
    /// Another agent has taken over: its view counts.
    async fn publish(&self, view: Home<F::Link>) -> Result<(), Self::Error>;
}

/// What a change of view came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Over all partitions.
    pub equalised: Equalised,
}

/// Takes a home to its view of `epoch`: closes it, makes the replicas alike, publishes.
///
/// May be stopped at any await and begun anew by anybody under a later epoch: closing again breaks the links of whoever was
/// at it before. What it leaves to be done lazily: every slot looks pending to the new primary, whose committed words are
/// not those of the old one, until it is read first (one round trip once) or swept.
///
/// # Errors
/// The control plane's, or a member was lost meanwhile: begin anew under a later epoch.
pub async fn change_view<F: Fabric, K: Close<F>>(
    fabric: &F,
    events: &Events,
    control: &K,
    epoch: Epoch,
) -> Result<Changed, K::Error> {
    let view = control.close(epoch).await?;
    let mut changed = Changed::default();
    let meter = Meter::new();
    for partition in 0..view.primary().segment.plan().geometry().partitions {
        // It is about no key in particular.
        let key = b"";
        let (home, hash) = (&view, KeyHash::of(key));
        let cx = Context { fabric, meter: &meter, events, home, partition, key, hash };
        if mutant::is(Mutant::EqualisingSkipped) {
            continue;
        }
        let done = equalise(&cx).await?;
        let all = &mut changed.equalised;
        all.slots += done.slots;
        all.differed += done.differed;
        all.withdrawn += done.withdrawn;
        all.corrupt += done.corrupt;
    }
    control.publish(view).await?;
    Ok(changed)
}
