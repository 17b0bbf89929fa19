//! The fabric over libibverbs: RNICs and Soft-RoCE.
//!
//! libibverbs is loaded when it is needed, so a binary with this crate runs on machines that have no RDMA,
//! and says there what is missing. Building needs no headers and no libraries.
#![deny(unsafe_code)]

pub mod device;
pub mod memlock;
#[allow(unsafe_code, reason = "the border to C; see its documentation")]
pub mod sys;
