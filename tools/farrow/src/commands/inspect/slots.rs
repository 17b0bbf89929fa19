//! All slots of a node: how full the index is.

use super::bucket::slot_json;
use super::{View, hosted, role};
use crate::human;
use crate::probe::Probe;
use crate::table::{Side, Table};
use anyhow::Result;
use farrow_control::map::ClusterMap;
use serde_json::{Value, json};

#[derive(Default)]
struct Count {
    slots: u64,
    used: u64,
    emptied: u64,
    tentative: u64,
    pending: u64,
}

pub fn view(probe: &Probe, map: &ClusterMap, is_list: bool) -> Result<View> {
    let right = Side::Right;
    let columns = [
        ("SEGMENT", right),
        ("HOME", Side::Left),
        ("ROLE", Side::Left),
        ("SLOTS", right),
        ("IN USE", right),
        ("SHARE", right),
        ("EMPTIED", right),
        ("TENTATIVE", right),
        ("PENDING", right),
    ];
    let mut table = Table::new(&columns);
    let mut listed = String::new();
    let mut objects = Vec::new();
    for hosted in hosted(probe, map)? {
        let is_primary = hosted.rank == 0;
        let mut count = Count::default();
        let mut slots: Vec<Value> = Vec::new();
        for partition in 0..hosted.plan.plan().geometry().partitions {
            let mut scan = probe.scan(&hosted.plan, partition);
            while let Some(piece) = scan.piece()? {
                for (index, slot) in piece {
                    let word = slot.word();
                    let is_pending = is_primary && slot.is_pending();
                    count.slots += 1;
                    count.used += u64::from(word.is_visible());
                    count.tentative += u64::from(!word.is_empty() && word.is_tentative());
                    count.emptied += u64::from(word.is_empty() && word.raw() != 0);
                    count.pending += u64::from(is_pending);
                    if is_list && (!word.is_empty() || is_pending) {
                        let mark = if is_pending { "  pending" } else { "" };
                        listed +=
                            &format!("  {} p{partition} slot {:8}  {word}{mark}\n", hosted.home, index.0);
                        slots.push(slot_json(partition, index, &slot, is_primary));
                    }
                }
            }
        }
        table.row([
            hosted.segment.to_string(),
            hosted.home.to_string(),
            role(hosted.rank),
            human::count(count.slots),
            human::count(count.used),
            human::percent(count.used, count.slots),
            human::count(count.emptied),
            human::count(count.tentative),
            if is_primary { human::count(count.pending) } else { "-".to_owned() },
        ]);
        let mut object = json!({
            "segment": hosted.segment,
            "home": hosted.home.0,
            "rank": hosted.rank,
            "slots": count.slots,
            "used": count.used,
            "emptied": count.emptied,
            "tentative": count.tentative,
            "pending": count.pending,
        });
        if is_list {
            object["list"] = json!(slots);
        }
        objects.push(object);
    }
    let text = format!("{table}{listed}");
    Ok(View { text, json: json!({ "node": probe.node().0, "segments": objects }) })
}
