//! What a lost client leaves behind in a home, put in order while others work (DESIGN section 8).
//!
//! ```text
//!  evicted at every member ──► sweep: every slot settled, its own claims and strays gone
//!                          ──► its open extents alike on all members ──► sealed at the backups ──► at the primary, by its daemon
//! ```
//!
//! | box of `docs/protocols/restore.md`, a lost client | here |
//! | --- | --- |
//! | 2 sweep | [`sweep`], decisions in [`rules`] |
//! | 3 alike, 4 seal | [`extents`], decisions in [`merge`] |

mod extents;
mod merge;
mod rules;
mod sweep;

pub use sweep::{Swept, sweep_pending};

use crate::{Event, Events, Failure, Home};
use farrow_fabric::{Fabric, Meter};
use farrow_layout::ClientId;

/// An extent grant that is not sealed at the primary yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenGrant {
    /// Its first extent.
    pub first: u64,
    /// How many.
    pub count: u32,
}

/// A grant of a lost client that is alike on all members and sealed at the backups: to be sealed by the primary's daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietGrant {
    /// The grant.
    pub grant: OpenGrant,
    /// Bytes from its first one to the end of the last that anything was ever written to, a multiple of 64.
    pub used: u64,
}

/// What was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// In the index.
    pub swept: Swept,
    /// Each of the grants.
    pub quiet: Vec<QuietGrant>,
    /// Bytes written to make members alike.
    pub copied: u64,
}

/// Puts in order what `client` has left in an open home of the `colocated` protocol. `grants` are its grants there that the
/// primary has not sealed, as its daemon said *after* every member has evicted the client: nothing of it is on its way.
///
/// Afterwards no slot of any member names an entry in `grants` unless all members' slots do, the bytes of the grants are the same
/// on all members, and the backups say that they are sealed; then the primary's daemon is to be told. May be stopped at any await
/// and begun anew by anybody.
///
/// Cost: 1 round trip for 1344 slots, 1 to 3 for each that is being changed; the grants' bytes once from every member.
///
/// # Errors
/// [`Failure`] when a link was lost or the home was closed: begin anew in the next view.
pub async fn recover_client<F: Fabric>(
    fabric: &F,
    events: &Events,
    meter: &Meter,
    home: &Home<F::Link>,
    client: ClientId,
    grants: &[OpenGrant],
) -> Result<Recovered, Failure> {
    let swept = sweep::sweep_after(fabric, events, meter, home, grants).await?;
    let (quiet, copied) = extents::quieten(fabric, meter, home, client, grants).await?;
    events.note(Event::RecoveredClient);
    Ok(Recovered { swept, quiet, copied })
}
