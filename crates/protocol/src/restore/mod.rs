//! Restore: a copy of a home is made on a further node while clients work, and joins its view (DESIGN section 8).
//!
//! ```text
//!  clients work    copy_sealed, again and again: what never changes any more, under a cap
//!  frozen          close ──► make_alike ──► join_member: what is open, the table, the index ──► publish with one more member
//! ```
//!
//! | box of `docs/protocols/restore.md` | here |
//! | --- | --- |
//! | 2 copy | [`copy_sealed`], [`Pace`] |
//! | 5 copy | [`join_member`] |
//! | what need not be copied again | [`Copied`] |

mod copied;
mod copy;
mod join;
mod pace;

pub use copied::Copied;
pub use copy::{Pass, copy_sealed};
pub use join::{Joined, frozen_bytes, join_member};
pub use pace::Pace;
