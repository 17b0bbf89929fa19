//! The two combined buckets of a key.

use super::{View, replica, role};
use crate::key;
use crate::probe::Probe;
use crate::table::{Side, Table};
use anyhow::Result;
use farrow_control::map::ClusterMap;
use farrow_layout::{COMBINED_LEN, CombinedBucket, KeyHash, Slot, SlotIndex, Word};
use serde_json::{Value, json};

/// One slot of a combined bucket.
pub struct SlotView {
    /// Which of the key's two combined buckets.
    pub which: usize,
    /// The slot's place in its partition.
    pub index: SlotIndex,
    /// Whether it lies in the main bucket, not in the overflow bucket.
    pub is_main: bool,
    /// Its two words.
    pub slot: Slot,
}

/// The slots in the bytes of a combined bucket.
pub fn views(which: usize, bucket: CombinedBucket, bytes: &[u8]) -> Vec<SlotView> {
    bucket.slots(bytes).map(|(index, is_main, slot)| SlotView { which, index, is_main, slot }).collect()
}

/// The slots of a key's two combined buckets at the probed node.
pub fn read(probe: &Probe, map: &ClusterMap, key: &[u8]) -> Result<Vec<SlotView>> {
    let (hosted, partition) = replica(probe, map, key)?;
    let mut all = Vec::new();
    for (which, bucket) in probe.plan()?.candidates(KeyHash::of(key)).into_iter().enumerate() {
        let bytes = probe.read(hosted.plan.bucket(partition, bucket), COMBINED_LEN)?.to_vec();
        all.extend(views(which, bucket, &bytes));
    }
    Ok(all)
}

pub(super) fn view(probe: &Probe, map: &ClusterMap, key: &[u8]) -> Result<View> {
    let (hosted, partition) = replica(probe, map, key)?;
    let fingerprint = KeyHash::of(key).fingerprint();
    let slots = read(probe, map, key)?;
    let is_primary = hosted.rank == 0;
    let columns = [
        ("BUCKET", Side::Left),
        ("SLOT", Side::Right),
        ("PLACE", Side::Left),
        ("WORD", Side::Left),
        ("STATE", Side::Left),
    ];
    let mut table = Table::new(&columns).indented(2);
    let mut never_used = [0; 2];
    for view in &slots {
        if view.slot.word == 0 && view.slot.committed == 0 {
            never_used[view.which] += 1;
            continue;
        }
        table.row([
            view.which.to_string(),
            view.index.0.to_string(),
            if view.is_main { "main" } else { "overflow" }.to_owned(),
            view.slot.word().to_string(),
            state(&view.slot, fingerprint, is_primary),
        ]);
    }
    let text = format!(
        "buckets of `{}` (fingerprint {fingerprint:02x}) in partition {partition} of home {} at {} ({})\n{}  never used: {} of 14 \
         slots in bucket 0, {} of 14 in bucket 1\n",
        key::show(key),
        hosted.home,
        probe.node(),
        role(hosted.rank),
        if table.is_empty() { String::new() } else { table.to_string() },
        never_used[0],
        never_used[1],
    );
    let json = json!({
        "node": probe.node().0,
        "home": hosted.home.0,
        "rank": hosted.rank,
        "partition": partition,
        "fingerprint": fingerprint,
        "slots": slots.iter().map(|view| view_json(view, partition, is_primary)).collect::<Vec<_>>(),
    });
    Ok(View { text, json })
}

/// What a slot's two words mean together.
fn state(slot: &Slot, fingerprint: u8, is_primary: bool) -> String {
    let word = slot.word();
    let mut said = vec![];
    if word.is_tentative() {
        said.push("tentative: an insert that is not confirmed".to_owned());
    } else if word == Word::ZERO {
        said.push("taken back".to_owned());
    } else if word.is_empty() {
        said.push("emptied".to_owned());
    } else {
        said.push("in use".to_owned());
    }
    if word.is_guarded() && !word.is_empty() {
        said.push("guarded".to_owned());
    }
    // Backups have no committed words.
    if is_primary && slot.is_pending() {
        said.push(format!("pending, committed is {}", slot.committed()));
    }
    if !word.is_empty() && word.fingerprint() == fingerprint {
        said.push("fingerprint matches".to_owned());
    }
    said.join("; ")
}

fn view_json(view: &SlotView, partition: u32, is_primary: bool) -> Value {
    let mut object = slot_json(partition, view.index, &view.slot, is_primary);
    object["bucket"] = json!(view.which);
    object["main"] = json!(view.is_main);
    object
}

/// A slot as an object.
pub fn slot_json(partition: u32, index: SlotIndex, slot: &Slot, is_primary: bool) -> Value {
    let word = slot.word();
    json!({
        "partition": partition,
        "slot": index.0,
        "word": format!("{:016x}", slot.word),
        "committed": format!("{:016x}", slot.committed),
        "empty": word.is_empty(),
        "tentative": word.is_tentative() && !word.is_empty(),
        "pending": is_primary && slot.is_pending(),
        "fingerprint": word.fingerprint(),
        "version": word.version().0,
        "read_len": word.class().map(|class| class.read_len()),
        "offset": word.pointer().offset(),
    })
}
