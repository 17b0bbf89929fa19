//! Clients and nodes as real processes, faults among them, and a judgement over all of it.

mod crew;
mod finals;
mod matrix;
mod run;
mod summary;
mod work;

pub use crew::{Clients, Job};
pub use finals::{orphans, read_back};
pub use matrix::{Matrix, Row};
pub use run::{Chaos, Connect, Outcome, run};
pub use summary::Summary;
pub use work::{Mix, Work, labour};
