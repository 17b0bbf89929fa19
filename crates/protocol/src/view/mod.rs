//! Views: how a home goes on when a node or a link of it is lost (DESIGN section 8).
//!
//! ```text
//!  agent    close: fence every survivor ──► equalise: tables and slots alike ──► publish: the views open
//!  client   a chain fails ──► renew: the next view ──► settle what is in doubt ──► go on, or say what is not known
//! ```
//!
//! | box of `docs/protocols/view-change.md` | here |
//! | --- | --- |
//! | close, equalise, publish | [`change_view`], [`equalise_tables`], [`equalise`] |
//! | what of a broken operation has happened | [`settle_in_doubt`], [`rules`] |
//! | operations that go on in the next view | [`through`] |

mod change;
mod equalise;
mod in_doubt;
mod rules;
mod tables;
mod through;

pub use change::{Changed, Close, change_view, make_alike};
pub use equalise::{Equalised, equalise};
pub use in_doubt::{InDoubt, Settled, settle_in_doubt};
pub use tables::equalise_tables;
pub use through::{NoView, Views, delete_through, exists_through, get_through, put_through};
