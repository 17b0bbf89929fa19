//! Every byte in a memory node's registered memory, defined once.
//!
//! A memory node's memory is a [`Superblock`] followed by equal *segments*. A segment holds one replica of a
//! home: its part of the index, its block table and its blocks. The segments of one home are laid out alike on
//! all of its members, so a word's pointer means the same bytes on each of them, and a home moves by copying a
//! segment.
//!
//! ```text
//!  node memory    | superblock | segment 0 | segment 1 | ...
//!  segment        | segment header | partition 0 | partition 1 | .. | block table | blocks ...
//!  partition      | group 0: main, overflow, main | group 1 | ...
//!  bucket         | header | slot 0 | .. | slot 6 |
//!  slot           | word | committed |
//!  block          | extent 0 | extent 1 | ..            an extent has one writer
//!  extent         | entry | entry | ..                  entry = header, key, value; padded to 64 bytes
//! ```
//!
//! Each structure names, per field, who writes it, with which verb, and why it can be read safely; that table is
//! rendered to `docs/layout.md` and a test keeps the two equal. Nothing outside of this crate adds numbers to
//! addresses: protocols ask the [`Plan`].

#![forbid(unsafe_code)]

mod bucket;
mod described;
mod entry;
mod extent;
mod ids;
mod key_hash;
mod locate;
mod pick;
mod plan;
mod policy;
mod segment;
mod shm;
mod size_class;
mod superblock;
mod word;

pub use bucket::{
    BUCKETS_PER_GROUP, Bucket, COMBINED_LEN, CombinedBucket, GROUP_LEN, SLOTS_PER_BUCKET, Slot, SlotIndex,
    put_slot_into_groups, slots_of_groups,
};
pub use described::{Described, FieldDoc, render_markdown};
pub use entry::{ENTRY_ALIGN, Entry, EntryError, EntryHeader, MAX_KEY_LEN, encode_entry, entry_len};
pub use extent::{ExtentRecord, ExtentState, ExtentWord};
pub use ids::{ClientId, Epoch, HomeId, Incarnation, NodeId, PartitionId};
pub use key_hash::KeyHash;
pub use locate::{Located, Part};
pub use pick::{Candidate, choose_free_slot};
pub use plan::{BlockAddr, Geometry, GeometryError, Plan, RemoteAddr, SegmentPlan, SlotAddr};
pub use policy::{Policy, PolicyError};
pub use segment::SegmentHeader;
pub use shm::{OWNER_DIED, ShmControl, ShmLink};
pub use size_class::SizeClass;
pub use superblock::{FORMAT_VERSION, SUPERBLOCK_MAGIC, Superblock, SuperblockError};
pub use word::{POINTER_UNIT, Pointer, Version, Word};

const _: () = assert!(cfg!(target_endian = "little"), "words are little-endian in remote memory");
