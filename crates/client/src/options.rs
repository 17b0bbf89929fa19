//! What an application may choose.

use std::time::Duration;

/// How a client behaves. All have sensible defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest that an operation may take, unless it says otherwise.
    pub deadline: Duration,
    /// Keys whose slots are remembered, per thread.
    pub cache_entries: usize,
    /// A key whose remembered slot proves stale more often than this share of its uses is looked up first (FUSEE's
    /// adaptive cache).
    pub cache_stale_ratio: f64,
    /// How long to poll for completions before sleeping.
    pub spin: Duration,
    /// Registered memory for operations in flight, per thread, in bytes.
    pub buffer_limit: usize,
    /// Owner threads of a [`crate::Client`].
    pub threads: usize,
    /// Whether to write to homes with fewer members than the cluster's floor: what is written there may be lost with the
    /// next node.
    pub allow_under_replicated: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            deadline: Duration::from_secs(2),
            cache_entries: 262_144,
            cache_stale_ratio: 0.1,
            spin: Duration::from_micros(50),
            buffer_limit: 256 << 20,
            threads: 1,
            allow_under_replicated: false,
        }
    }
}
