//! The block tables of a node: who has which extent.

use super::{View, hosted, role};
use crate::human;
use crate::probe::Probe;
use crate::table::{Side, Table};
use anyhow::Result;
use farrow_control::map::ClusterMap;
use farrow_layout::{ExtentRecord, ExtentState, ExtentWord};
use serde_json::{Value, json};
use zerocopy::FromBytes;

/// Records in one READ.
const RECORDS_PER_READ: u64 = 1024;

pub fn view(probe: &Probe, map: &ClusterMap, is_list: bool) -> Result<View> {
    let right = Side::Right;
    let columns = [
        ("SEGMENT", right),
        ("HOME", Side::Left),
        ("ROLE", Side::Left),
        ("EXTENTS", right),
        ("OF", right),
        ("FREE", right),
        ("OPEN", right),
        ("SEALED", right),
        ("DEAD", right),
    ];
    let mut table = Table::new(&columns);
    let mut listed = String::new();
    let mut objects = Vec::new();
    for hosted in hosted(probe, map)? {
        let plan = *hosted.plan.plan();
        let (mut free, mut open, mut sealed, mut dead) = (0u64, 0u64, 0u64, 0u64);
        let mut extents: Vec<Value> = Vec::new();
        for first in (0..plan.extents()).step_by(RECORDS_PER_READ as usize) {
            let count = RECORDS_PER_READ.min(plan.extents() - first);
            let len = count as usize * size_of::<ExtentRecord>();
            let bytes = probe.read(hosted.plan.extent_record(first), len)?.to_vec();
            for (place, bytes) in bytes.chunks_exact(size_of::<ExtentRecord>()).enumerate() {
                let record = ExtentRecord::read_from_bytes(bytes).expect("a record's bytes");
                let word = ExtentWord::from_raw(record.word);
                let state = match word.state() {
                    ExtentState::Free => {
                        free += 1;
                        continue;
                    }
                    ExtentState::Open => {
                        open += 1;
                        "open"
                    }
                    ExtentState::Sealed => {
                        sealed += 1;
                        "sealed"
                    }
                    ExtentState::Unknown(_) => "unknown",
                };
                dead += record.dead_bytes;
                if is_list {
                    let extent = first + place as u64;
                    let (owner, generation) = (word.owner(), word.generation());
                    listed += &format!(
                        "  {} extent {extent:6}  {state:7} by {:11} generation {generation}, {} dead\n",
                        hosted.home,
                        owner.to_string(),
                        human::bytes(record.dead_bytes)
                    );
                    extents.push(json!({
                        "extent": extent,
                        "state": state,
                        "owner": owner.0,
                        "generation": generation,
                        "dead_bytes": record.dead_bytes,
                    }));
                }
            }
        }
        table.row([
            hosted.segment.to_string(),
            hosted.home.to_string(),
            role(hosted.rank),
            human::count(plan.extents()),
            human::bytes(plan.geometry().extent_len),
            human::count(free),
            human::count(open),
            human::count(sealed),
            human::bytes(dead),
        ]);
        let mut object = json!({
            "segment": hosted.segment,
            "home": hosted.home.0,
            "rank": hosted.rank,
            "extents": plan.extents(),
            "extent_bytes": plan.geometry().extent_len,
            "free": free,
            "open": open,
            "sealed": sealed,
            "dead_bytes": dead,
        });
        if is_list {
            object["list"] = json!(extents);
        }
        objects.push(object);
    }
    let text = format!("{table}{listed}");
    Ok(View { text, json: json!({ "node": probe.node().0, "segments": objects }) })
}
