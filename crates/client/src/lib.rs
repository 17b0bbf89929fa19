//! The client library: keys to values in disaggregated memory, over one-sided verbs.
//!
//! Two handles, one behaviour:
//!
//! - [`Client`] is `Send + Clone`; its futures run on any executor. The work is done by owner threads.
//! - [`LocalClient`] belongs to one thread and does the work there: no queue, no wake-up, the last microsecond. Run its
//!   futures with [`LocalClient::block_on`], or on any single-threaded executor (which then polls busily).
//!
//! Absent, rejected, unknown, unavailable and corrupt are different answers: see [`Error`].

#![forbid(unsafe_code)]

mod bulletin;
mod cache;
mod cluster;
mod control_plane;
mod core;
mod dead;
mod desk;
mod error;
pub mod grant;
mod handle;
mod local;
mod membership;
mod options;
mod space;
mod stats;
mod version;
mod worker;

pub use cache::{Cache, CacheStats};
pub use cluster::{Cluster, ConnectError, NodeSummary};
pub use control_plane::ControlPlane;
pub use core::{Core, PutRequest, ValueInfo, When};
pub use error::{Error, Rejected};
pub use farrow_control::Secret;
pub use farrow_control::map::ClusterMap;
pub use farrow_fabric::{Buffer, Cost, Fabric, Meter, OutOfBuffers};
pub use farrow_protocol::{Event, Target, Value};
pub use farrow_transport::{DialError, DialOptions, Preference, Rdma, Require, Session};
pub use handle::Client;
pub use local::LocalClient;
pub use membership::{LinkError, Linking, MembershipStats, Routes, Waiting};
pub use options::Options;
pub use space::{GrantError, Granting, Space};
pub use stats::{OpKind, OpStats, Stats};
pub use version::Version;
