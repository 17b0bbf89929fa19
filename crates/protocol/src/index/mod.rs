//! The index: RACE's two-choice table, read with two READs; new keys placed so that two inserters of one key meet.

mod bucket_pair;
mod insert;
mod lookup;

pub use bucket_pair::{Bucket, BucketPair};
pub(crate) use insert::{Insert, Inserted, remove_tentative};
pub use lookup::Found;
pub(crate) use lookup::{Lookup, entry_room, find, key_at};
