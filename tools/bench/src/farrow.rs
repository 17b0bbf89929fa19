//! Farrow as the store that is measured: a cluster that is there, or one in this process.

use crate::store::{Counters, Failed, Look, NAP, Store, Stores, give_way};
use crate::workload::key::Key;
use anyhow::Context;
use farrow_client::{
    Cluster, Cost, DialOptions, Fabric, LocalClient, Meter, Options, PutRequest, Secret, Target, Value,
};
use farrow_config::Config;
use farrow_node::Embedded;
use std::time::{Duration, Instant};

/// A cluster, and the nodes of it that run in this process.
pub(crate) struct Farrow {
    // Dropped first: clients leave while the nodes still listen.
    cluster: Cluster,
    options: Options,
    embedded: Option<Embedded>,
}

const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

impl Farrow {
    /// Connects to the cluster of `config`, or starts one of `nodes` nodes when it names none.
    pub(crate) fn open(config: &Config, nodes: usize) -> anyhow::Result<Farrow> {
        let is_embedded = config.cluster.nodes.is_empty() && config.cluster.coordinators.is_empty();
        let secret = match is_embedded {
            true => Secret::generate().context("the system gives no randomness for a secret")?,
            false => config.cluster.load_secret()?,
        };
        let embedded = match is_embedded {
            true => Some(
                Embedded::start(config, nodes, &secret).context("cannot start a cluster in this process")?,
            ),
            false => None,
        };
        let dial = DialOptions::of(config, secret, "farrow bench", DIAL_TIMEOUT);
        let config = embedded.as_ref().map_or(config, Embedded::config);
        let cluster = Cluster::connect_through(&config.cluster.coordinators, &config.cluster.nodes, &dial)?;
        let client = &config.client;
        let options = Options {
            deadline: client.deadline,
            cache_entries: usize::try_from(client.cache_entries)
                .context("client.cache_entries is too large")?,
            cache_stale_ratio: client.cache_stale_ratio,
            spin: client.spin,
            allow_under_replicated: client.allow_under_replicated,
            ..Options::default()
        };
        Ok(Farrow { cluster, options, embedded })
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }
}

impl Stores for Farrow {
    type Store = LocalClient;

    fn open(&self) -> anyhow::Result<LocalClient> {
        Ok(self.cluster.local_client(&self.options)?)
    }
}

impl Store for LocalClient {
    type Value = Value;

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        LocalClient::block_on(self, future)
    }

    fn together<T>(&self, futures: impl Future<Output = T>) -> impl Future<Output = T> {
        farrow_fabric::corked(self.fabric().clone(), futures)
    }

    async fn get(&self, key: &[u8]) -> (Result<Option<Value>, Failed>, Cost) {
        let meter = Meter::new();
        let answer = self.get_metered(key, &Target::Pool, &meter).await;
        (answer.map_err(Failed::from), meter.cost())
    }

    async fn put(&self, key: &[u8], value: &[u8]) -> (Result<(), Failed>, Cost) {
        let meter = Meter::new();
        let answer = self.put_metered(&PutRequest::new(key, value), &meter).await;
        (answer.map(|_| ()).map_err(Failed::from), meter.cost())
    }

    async fn delete(&self, key: &[u8]) -> (Result<bool, Failed>, Cost) {
        let meter = Meter::new();
        let answer = self.delete_metered(key, None, &meter).await;
        (answer.map_err(Failed::from), meter.cost())
    }

    async fn load(&self, pairs: &[(Key, Vec<u8>)]) -> Result<(), Failed> {
        let requests: Vec<_> = pairs.iter().map(|(key, value)| PutRequest::new(key, value)).collect();
        for answer in self.put_many(&requests).await {
            answer?;
        }
        Ok(())
    }

    async fn wait_until(&self, at: Instant) {
        let left = at.saturating_duration_since(Instant::now());
        if left > NAP {
            self.fabric().sleep_until(self.fabric().now() + (left - NAP)).await;
        }
        while Instant::now() < at {
            give_way().await;
        }
    }

    async fn tell(&self) {
        self.tell_dead_bytes().await;
    }

    fn counters(&self) -> Counters {
        self.stats()
    }
}

impl Look for Value {
    fn look<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        self.with(look)
    }
}

impl From<farrow_client::Error> for Failed {
    fn from(error: farrow_client::Error) -> Failed {
        Failed { label: error.label(), why: error.to_string() }
    }
}
