//! A client's half of membership: which view of a home to work in, and what to do when one is lost.
//!
//! ```text
//!  Core ── HomeViews   the current view of each home; the next one, from a map and links that fit it (M-3)
//!             │
//!           Links      the current link to each node, made anew once for all who wait; backing off
//!             │
//!           Routes     the latest map, links, the coordinator's word: of threads, or simulated
//! ```
//!
//! Nothing here knows of threads, sockets or clocks but through [`Routes`] and the fabric. See
//! `docs/protocols/membership.md`.

mod counts;
mod links;
mod routes;
mod shared;
mod views;

pub(crate) use counts::Counts;
pub use counts::MembershipStats;
pub use routes::{LinkError, Linking, Routes, Waiting};
pub(crate) use views::{HomeViews, NoWay, is_up};

#[cfg(test)]
mod tests;
