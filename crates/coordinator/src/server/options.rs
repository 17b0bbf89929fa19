//! From a configuration to what a daemon needs to know.

use crate::{EtcdStore, FileStore, Settings, Store};
use farrow_config::{Commit, Config};
use farrow_control::map::{CommitKind, Sizes};

/// What a daemon needs to know.
pub struct Options {
    /// Where to listen: `host:port`; port 0 takes a free one.
    pub listen: String,
    /// The address that others dial; without one, where it listens. Other coordinators tell it to whoever asks them.
    pub advertise: Option<String>,
    /// What decides.
    pub settings: Settings,
    /// Where the state is kept.
    pub store: Box<dyn Store>,
}

impl Options {
    /// What a configuration says, which has been found valid.
    pub fn of(config: &Config) -> Options {
        let (cluster, coordinator) = (&config.cluster, &config.coordinator);
        let settings = Settings {
            name: cluster.name.clone(),
            commit: match cluster.commit {
                Commit::Colocated => CommitKind::Colocated,
                Commit::Snapshot => CommitKind::Snapshot,
            },
            sizes: Sizes {
                policy: cluster.policy,
                max_keys: cluster.max_keys,
                block_len: cluster.block_size,
                extent_len: cluster.extent_size,
            },
            homes_per_node: u16::try_from(cluster.homes_per_node).expect("validated: at most 64"),
            nodes_to_form: cluster.nodes_to_form,
            headroom_nodes: cluster.headroom_nodes,
            write_floor: cluster.write_floor,
            lease_ns: u64::try_from(coordinator.lease.as_nanos()).expect("validated: at most a minute"),
            restore_bytes_per_s: coordinator.restore_bandwidth,
            coordinators: cluster.coordinators.clone(),
        };
        let store: Box<dyn Store> = match coordinator.store.split_once(':') {
            Some(("etcd", list)) => {
                let servers = list.split(',').map(|server| server.trim().to_owned()).collect();
                Box::new(EtcdStore::new(servers, &cluster.name))
            }
            Some(("file", path)) => Box::new(FileStore::new(path)),
            _ => unreachable!("validated: one of the two"),
        };
        Options {
            listen: coordinator.listen.clone(),
            advertise: coordinator.advertise.clone(),
            settings,
            store,
        }
    }
}
