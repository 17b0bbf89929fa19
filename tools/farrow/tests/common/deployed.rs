//! A coordinated cluster of processes that can be killed, and clients of it in this process.

use farrow_chaos::{Deployment, Launch, Settings};
use farrow_client::{Cluster, DialOptions, LocalClient, Options, Preference, Rdma, Require};
use std::path::Path;
use std::time::Duration;

/// A coordinator and `nodes` nodes, over shared memory.
pub fn deploy(dir: &Path, nodes: usize, copies: usize, lease: Duration) -> Deployment {
    let settings = Settings {
        farrow: env!("CARGO_BIN_EXE_farrow").into(),
        coordinators: 1,
        nodes,
        spares: 0,
        copies,
        lease,
        memory: "96MiB".into(),
        max_keys: 2_000,
        restore_bandwidth: 1 << 30,
        is_partitioned: false,
    };
    let leash = vec![env!("CARGO_BIN_EXE_farrow").into(), "leash".into()];
    Deployment::start(settings, Launch { leash, dir: dir.to_owned() }).unwrap()
}

pub fn connect(deployment: &Deployment, deadline: Duration) -> LocalClient {
    let dial = DialOptions {
        secret: deployment.secret().clone(),
        preference: Preference::Shm,
        require: Require::Shm,
        who: "test".into(),
        timeout: Duration::from_secs(5),
        rdma: Rdma::default(),
    };
    let cluster = Cluster::connect_through(&deployment.coordinator_addresses(), &[], &dial).unwrap();
    cluster.local_client(&Options { deadline, ..Options::default() }).unwrap()
}
