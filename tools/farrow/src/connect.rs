//! From the command line to a cluster.

use crate::exit::{Exit, told};
use crate::log;
use anyhow::Result;
use clap::{ArgMatches, Command};
use farrow_client::{Cluster, ClusterMap, ConnectError, DialOptions, LocalClient, Options, Secret};
use farrow_config::{Config, Loaded, Origin};
use std::time::Duration;

/// What a client needs of the configuration.
const SECTIONS: &[&str] = &["cluster", "fabric", "client", "log"];

/// Shown by `-h`; `--help` shows the rest.
const SHORT: &[&str] = &["config", "cluster-nodes", "cluster-secret-file"];

/// Only memory nodes read them: a client is told by the nodes.
const NODES_ONLY: &[&str] = &[
    "cluster-name",
    "cluster-policy",
    "cluster-commit",
    "cluster-homes-per-node",
    "cluster-max-keys",
    "cluster-block-size",
    "cluster-extent-size",
    "cluster-nodes-to-form",
    "cluster-headroom-nodes",
    "cluster-write-floor",
];

/// Adds the flags of a command that connects.
pub fn args(command: Command) -> Command {
    let own: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    farrow_config::args(command, SECTIONS).mut_args(|arg| {
        let id = arg.get_id().clone();
        if own.contains(&id) || SHORT.contains(&id.as_str()) {
            arg
        } else if NODES_ONLY.contains(&id.as_str()) {
            arg.hide(true)
        } else {
            arg.hide_short_help(true)
        }
    })
}

/// Everything needed to dial.
pub struct Reach {
    /// The configuration.
    pub loaded: Loaded,
    /// How to dial.
    pub dial: DialOptions,
    /// How clients behave.
    pub options: Options,
}

impl Reach {
    /// Reads the configuration and the secret, and starts logging.
    pub fn load(matches: &ArgMatches, purpose: &str) -> Result<Reach> {
        let loaded = farrow_config::load(matches, farrow_config::environment())?;
        log::start(&loaded, true);
        let cluster = &loaded.config.cluster;
        if cluster.nodes.is_empty() && cluster.coordinators.is_empty() {
            return Err(ConnectError::NoNodes.into());
        }
        let secret = loaded.config.cluster.load_secret()?;
        Ok(Reach::of(loaded, secret, purpose))
    }

    /// With a configuration and a secret at hand.
    pub fn of(loaded: Loaded, secret: Secret, purpose: &str) -> Reach {
        let dial = dial_options(&loaded.config, secret, purpose);
        let options = client_options(&loaded.config);
        Reach { loaded, dial, options }
    }

    /// The addresses that were configured.
    pub fn nodes(&self) -> &[String] {
        &self.loaded.config.cluster.nodes
    }

    /// Connects to all nodes.
    pub fn cluster(&self) -> Result<Cluster> {
        let coordinators = &self.loaded.config.cluster.coordinators;
        let cluster = Cluster::connect_through(coordinators, self.nodes(), &self.dial)?;
        self.compare(&cluster.map())?;
        Ok(cluster)
    }

    /// A client is told by the nodes what cluster they are. Where its configuration says something else, one of the two was
    /// not meant: under another name nothing is touched.
    fn compare(&self, map: &ClusterMap) -> Result<()> {
        let cluster = &self.loaded.config.cluster;
        let is_other = |name, configured: String, real: &str| match self.loaded.origin("cluster", name) {
            Origin::Default => None,
            origin if configured != real => {
                Some(format!("cluster.{name} is `{configured}` ({origin}), and the nodes' is `{real}`"))
            }
            _ => None,
        };
        if let Some(why) = is_other("name", cluster.name.clone(), &map.name) {
            return Err(told(Exit::Usage, format!("{why}: nothing was done")));
        }
        let policy = is_other("policy", cluster.policy.to_string(), &map.geometry.policy.to_string());
        let commit = is_other("commit", cluster.commit.to_string(), &map.commit.to_string());
        for why in policy.into_iter().chain(commit) {
            tracing::warn!("{why}, which holds");
        }
        Ok(())
    }

    /// A client for this thread.
    pub fn local(&self) -> Result<LocalClient> {
        Ok(self.cluster()?.local_client(&self.options)?)
    }
}

fn dial_options(config: &Config, secret: Secret, purpose: &str) -> DialOptions {
    let timeout = config.client.deadline.clamp(Duration::from_millis(500), Duration::from_secs(5));
    DialOptions::of(config, secret, &format!("farrow {purpose}"), timeout)
}

fn client_options(config: &Config) -> Options {
    let client = &config.client;
    Options {
        deadline: client.deadline,
        cache_entries: usize::try_from(client.cache_entries).unwrap_or(usize::MAX),
        cache_stale_ratio: client.cache_stale_ratio,
        spin: client.spin,
        threads: client.threads as usize,
        allow_under_replicated: client.allow_under_replicated,
        ..Options::default()
    }
}
