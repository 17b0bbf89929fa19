//! The superblock of a node's memory.

use super::{View, fields};
use crate::probe::Probe;
use anyhow::Result;
use farrow_layout::{RemoteAddr, Superblock};
use serde_json::json;

pub fn view(probe: &Probe) -> Result<View> {
    let bytes = probe.read(RemoteAddr(0), Superblock::LEN)?.to_vec();
    let verdict = match Superblock::open(&bytes) {
        Ok(_) => "valid".to_owned(),
        Err(why) => why.to_string(),
    };
    let text = format!(
        "superblock of {} at {}: {verdict}\n{}",
        probe.node(),
        probe.session().address(),
        fields::text::<Superblock>(&bytes)
    );
    let json = json!({
        "node": probe.node().0,
        "verdict": verdict,
        "superblock": fields::json::<Superblock>(&bytes),
    });
    Ok(View { text, json })
}
