//! Extents as the control plane speaks of them, and as a client uses them.

use crate::GrantError;
use farrow_control::message::{ExtentGrant, Refusal, Request};
use farrow_layout::{ClientId, ExtentWord, HomeId};
use farrow_protocol::Extent;

/// The extent that a node granted to `client`.
pub fn extent(client: ClientId, home: HomeId, grant: &ExtentGrant) -> Extent {
    Extent {
        home,
        first: grant.first,
        count: grant.count,
        start: grant.start,
        len: grant.len,
        word: ExtentWord::open_as(client, grant.generation),
    }
}

/// What tells a node that nothing will be appended to `extent` any more.
pub fn seal(client: ClientId, extent: &Extent, used: u64) -> Request {
    let grant = ExtentGrant {
        first: extent.first,
        count: extent.count,
        start: extent.start,
        len: extent.len,
        generation: extent.word.generation(),
    };
    Request::SealExtent { client, home: extent.home, grant, used }
}

/// What a node's refusal to grant an extent means to the one who asked.
pub fn refused(refusal: &Refusal) -> GrantError {
    match refusal {
        Refusal::NoSpace { .. } => GrantError::NoSpace(refusal.to_string()),
        Refusal::HomeClosed(_) | Refusal::NotPrimary { .. } => GrantError::NotNow(refusal.to_string()),
        _ => GrantError::Unavailable(refusal.to_string()),
    }
}
