//! What is left at the end.

use crate::{Storm, now_ns};
use anyhow::{Context, Result, bail};
use farrow_client::{DialOptions, LocalClient};
use farrow_control::message::{Reply, Request};
use farrow_testkit::history::{Answer, History, Kind, Operation, Outcome, ValueId};
use farrow_transport::Session;
use std::collections::BTreeMap;

/// Reads every key of a history with a fresh client, and adds the reads as those of client 0. All others must have returned.
///
/// # Errors
/// A key cannot be read.
pub fn read_back(
    client: &LocalClient,
    storm: &Storm,
    history: &mut History,
) -> Result<BTreeMap<Vec<u8>, Option<ValueId>>> {
    let keys: Vec<Vec<u8>> = history.by_key().into_keys().map(<[u8]>::to_vec).collect();
    let mut finals = BTreeMap::new();
    for key in keys {
        let invoked_ns = now_ns();
        let value = client.block_on(client.get(&key));
        let value = value.with_context(|| format!("reading back {}", String::from_utf8_lossy(&key)))?;
        let value = value.map(|value| storm.read(&value));
        let outcome = Outcome::Ok { returned_ns: now_ns(), answer: Answer::Value(value) };
        history.push(Operation { client: 0, key: key.clone(), kind: Kind::Get, invoked_ns, outcome });
        finals.insert(key, value);
    }
    Ok(finals)
}

/// Where, on any of `nodes`, there are extents whose owners are gone and that nobody has cleaned up behind; in words.
///
/// # Errors
/// A node does not answer.
pub fn orphans(nodes: &[String], options: &DialOptions) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for address in nodes {
        let session = Session::dial_control(address, options)?;
        match session.call(&Request::Stats)? {
            Reply::Stats(stats) => {
                let orphaned = stats.segments.iter().filter(|segment| segment.orphaned_bytes > 0);
                found.extend(orphaned.map(|s| {
                    format!(
                        "{} at {address}: {} bytes of {} (rank {})",
                        stats.node, s.orphaned_bytes, s.home, s.rank
                    )
                }));
            }
            other => bail!("{address} answered {other:?} when asked for its state"),
        }
    }
    Ok(found)
}
