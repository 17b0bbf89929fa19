//! Index, commit and block protocols, written once, generic over the fabric.
//!
//! Nothing here knows of sockets, clocks, threads or providers: remote memory is touched through
//! [`farrow_fabric::Link::post`] alone, time and randomness through [`farrow_fabric::Fabric`] alone. Every `.await` is a
//! point at which a client may die; `docs/protocols/` has a row for each.
//!
//! ```text
//!  ops        get · put · delete: what an operation does with a key's slot
//!  index      find a key's candidates; place a new key
//!  commit     the trait: change one slot on all replicas, settle a slot that may be half changed
//!  colocated  one round trip, the primary decides          snapshot  FUSEE's, backups first: the baseline
//!  view       when a node or a link is lost: equalise the survivors, settle what is in doubt, go on
//!  restore    a copy of a home on a further node, so that the next one may be lost
//!  recover    what a lost client leaves behind
//!  appender   where the next entry goes                    rules.rs  decisions, pure, beside each protocol
//! ```

#![forbid(unsafe_code)]

mod appender;
mod colocated;
mod commit;
mod context;
mod error;
mod event;
mod home;
mod index;
mod ops;
pub mod recover;
pub mod restore;
mod snapshot;
mod spread;
mod staged;
mod view;

pub use farrow_mutant as mutant;

pub use appender::{Appender, Extent, Reservation};
pub use colocated::Colocated;
pub use commit::{Commit, Concluded, Place, Replace, Replaced};
pub use context::Context;
pub use error::{Failure, ProtocolError};
pub use event::{Event, Events};
pub use home::{Home, Member};
pub use index::{Bucket, BucketPair, Found};
pub use ops::{
    Condition, DeleteOutcome, GetOutcome, Known, PutOutcome, Rejection, Target, Value, delete, exists, get,
    put,
};
pub use recover::recover_client;
pub use snapshot::Snapshot;
pub use staged::{Staged, StagedValue};
pub use view::{
    Changed, Close, Equalised, InDoubt, NoView, Settled, Views, change_view, delete_through, equalise,
    equalise_tables, exists_through, get_through, make_alike, put_through, settle_in_doubt,
};
