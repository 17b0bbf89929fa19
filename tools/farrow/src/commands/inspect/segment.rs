//! A segment's header, and what lies where in it.

use super::{View, fields};
use crate::exit::{Exit, told};
use crate::human;
use crate::probe::Probe;
use anyhow::Result;
use farrow_layout::{BlockAddr, SegmentHeader};
use serde_json::json;
use zerocopy::FromBytes;

pub fn view(probe: &Probe, number: u32) -> Result<View> {
    let plan = probe.plan()?;
    let count = plan.segments_in(probe.session().welcome().memory_len);
    if number >= count {
        let why = format!("{} has {count} segments, 0 to {}", probe.node(), count.saturating_sub(1));
        return Err(told(Exit::Usage, why));
    }
    let segment = plan.segment(number);
    let bytes = probe.read(segment.header(), size_of::<SegmentHeader>())?.to_vec();
    let header = SegmentHeader::read_from_bytes(&bytes).expect("as many bytes were read");
    let state = match header.magic {
        SegmentHeader::MAGIC if header.rank == 0 => format!("the primary of home h{}", header.home),
        SegmentHeader::MAGIC => format!("backup {} of home h{}", header.rank, header.home),
        0 => "unused".to_owned(),
        _ => "not a segment: its first bytes are wrong".to_owned(),
    };
    let geometry = plan.geometry();
    let areas = [
        ("header", segment.header()),
        ("index", segment.partition(0)),
        ("block table", segment.extent_record(0)),
        ("blocks", segment.block_bytes(BlockAddr(0))),
    ];
    let places: String = areas.iter().map(|(name, at)| format!("  {name:12} at {at}\n")).collect();
    let text = format!(
        "segment {number} of {}: {state}\n{}{places}  {} of index ({} x {} slots), {} of {} each, extents of {}\n",
        probe.node(),
        fields::text::<SegmentHeader>(&bytes),
        human::bytes(plan.index_len()),
        human::plural(geometry.partitions.into(), "partition"),
        human::count(plan.slots_per_partition()),
        human::plural(plan.blocks(), "block"),
        human::bytes(geometry.block_len),
        human::bytes(geometry.extent_len),
    );
    let json = json!({
        "node": probe.node().0,
        "segment": number,
        "state": state,
        "header": fields::json::<SegmentHeader>(&bytes),
        "areas": areas.iter().map(|(name, at)| ((*name).to_owned(), json!(at.0))).collect::<serde_json::Map<_, _>>(),
        "slots": plan.slots_per_partition() * u64::from(geometry.partitions),
        "blocks": plan.blocks(),
        "extents": plan.extents(),
    });
    Ok(View { text, json })
}
