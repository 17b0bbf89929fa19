//! A whole cluster in one process: for tests, the demo and the benchmark.

use crate::{Bound, Daemon, StartError};
use farrow_config::Config;
use farrow_control::Secret;

/// Several daemons of one cluster in this process, on ports of 127.0.0.1 that the system chose.
#[derive(Debug)]
pub struct Embedded {
    config: Config,
    daemons: Vec<Option<Daemon>>,
}

impl Embedded {
    /// Starts `nodes` daemons. `config` is each node's; its addresses and its list of nodes are replaced, `node.memory` is
    /// taken for each of them, and to the name of a `node.memory_file` the node's number is added.
    ///
    /// # Errors
    /// The first daemon's that does not start; the others are stopped.
    pub fn start(config: &Config, nodes: usize, secret: &Secret) -> Result<Embedded, StartError> {
        let mut config = config.clone();
        config.node.listen = "127.0.0.1:0".to_owned();
        config.node.advertise = None;
        config.cluster.nodes = Vec::new();
        let bind = |index: usize| {
            let mut config = config.clone();
            config.node.memory_file = config.node.memory_file.map(|path| {
                let mut name = path.into_os_string();
                name.push(format!(".{index}"));
                name.into()
            });
            Daemon::bind(&config)
        };
        let bound: Vec<Bound> = (0..nodes).map(bind).collect::<Result<_, _>>()?;
        config.cluster.nodes = bound.iter().map(|bound| bound.advertised().to_owned()).collect();
        let daemons: Result<_, _> =
            bound.into_iter().map(|bound| bound.serve(&config.cluster.nodes, secret).map(Some)).collect();
        Ok(Embedded { config, daemons: daemons? })
    }

    /// The configuration with the list of nodes: what a client of this cluster needs, besides the secret.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The daemon of a node; `None` once it was stopped.
    pub fn node(&self, index: usize) -> Option<&Daemon> {
        self.daemons.get(index)?.as_ref()
    }

    /// Stops one node: its links fail, its memory is gone. Says whether it was running.
    pub fn stop_node(&mut self, index: usize) -> bool {
        self.daemons.get_mut(index).and_then(Option::take).map(Daemon::stop).is_some()
    }
}
