//! Which errors are legal, and when: a store that is in trouble says so, of the right keys, in the right words.
//!
//! | error | legal if and only if |
//! | --- | --- |
//! | `bad_key`, `too_large` | the arguments are |
//! | `rejected` | the call has a condition |
//! | `buffer_too_small` | the value is read into a buffer that is shorter than it may be |
//! | `out_of_buffers` | the client's pool is small |
//! | `timed_out` | it is a read, and the client has deadlines (a patient one: and something in the home was begun and never ended) |
//! | `full` | the key's buckets were crowded, or the home's node has told this client that it has no room |
//! | `corrupt` | all copies of some entry of the home have rotted |
//! | `unavailable` | the client does not reach a member of the home; or a PUT cannot ask its primary for space |
//! | `unknown` | it is a write, and the client has deadlines (as above) or does not reach a member of the home; or a PUT that found the buckets full after a slot was lost to another |
//! | `closed` | never: it is the answer of a handle that belongs to threads |
//!
//! So a lost node makes the keys of its homes unavailable, to those who need it, and nobody else notices.

use super::cluster::Cluster;
use super::scenario::{AMPLE_BUFFERS, ClientPlan, PATIENCE};
use farrow_client::Error;
use farrow_layout::{ClientId, KeyHash};
use std::time::Duration;

/// A call, as far as its errors go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) is_write: bool,
    pub(super) is_put: bool,
    pub(super) is_conditional: bool,
    /// The bytes of the application's buffer.
    pub(super) buffer: Option<usize>,
}

/// What a client can do, as far as its errors go.
pub(super) struct Means {
    deadline: Deadline,
    has_buffers: bool,
    may_be_crowded: bool,
}

/// When a deadline may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deadline {
    /// Never: there is none.
    Never,
    /// Only while waiting for somebody who is gone.
    Broken,
    /// At any time.
    Always,
}

impl Means {
    pub(super) fn of(plan: &ClientPlan, may_be_crowded: bool) -> Means {
        Means {
            deadline: match plan.deadline {
                Duration::MAX => Deadline::Never,
                PATIENCE => Deadline::Broken,
                _ => Deadline::Always,
            },
            has_buffers: plan.buffer_limit >= AMPLE_BUFFERS,
            may_be_crowded,
        }
    }
}

/// Panics when `error` is not legal now.
pub(super) fn check(
    cluster: &Cluster,
    client: ClientId,
    means: &Means,
    key: &[u8],
    call: Call,
    error: &Error,
) {
    let (home, _) = cluster.map.route(KeyHash::of(key));
    let members = &cluster.map.homes[usize::from(home.0)].members;
    let reaches_all = members.iter().all(|m| cluster.reach.has_link(client, m.node));
    let can_ask = cluster.reach.has_session(client, members[0].node);
    let may_pass = match means.deadline {
        Deadline::Never => false,
        Deadline::Broken => cluster.reach.is_broken(home),
        Deadline::Always => true,
    };
    let is_legal = match error {
        Error::Rejected(_) => call.is_conditional,
        Error::BufferTooSmall { needed, room } => {
            call.buffer.is_some_and(|len| len == *room && *needed > len)
        }
        Error::OutOfBuffers(_) => !means.has_buffers,
        // Also of a write that was still waiting for space, or looking: it has done nothing.
        Error::TimedOut { .. } => may_pass,
        Error::Full { .. } => {
            call.is_put && (means.may_be_crowded || cluster.reach.was_told_full(client, home))
        }
        Error::Corrupt { .. } => cluster.reach.is_rotten(home),
        Error::Unavailable { .. } => !reaches_all || call.is_put && !can_ask,
        Error::Unknown { .. } => {
            call.is_write && (may_pass || !reaches_all || call.is_put && means.may_be_crowded)
        }
        _ => false,
    };
    assert!(
        is_legal,
        "{client} was told `{error}` of a key of {home}: {call:?}, reaches all members: {reaches_all}, can ask: {can_ask}"
    );
}
