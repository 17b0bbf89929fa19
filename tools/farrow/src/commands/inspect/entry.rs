//! A key's entry: header, key and value.

use super::{View, bucket, fields, replica, role};
use crate::exit::{Exit, told};
use crate::key;
use crate::probe::Probe;
use anyhow::Result;
use farrow_control::map::ClusterMap;
use farrow_layout::{EntryHeader, KeyHash, Word};
use serde_json::json;

/// Bytes of an entry that are shown.
const SHOWN: usize = 512;

pub fn view(probe: &Probe, map: &ClusterMap, key: &[u8]) -> Result<View> {
    let (hosted, _) = replica(probe, map, key)?;
    let fingerprint = KeyHash::of(key).fingerprint();
    let slots = bucket::read(probe, map, key)?;
    let mut words: Vec<Word> = slots.iter().map(|view| view.slot.word()).collect();
    words.retain(|word| !word.is_empty() && word.fingerprint() == fingerprint);
    for word in words {
        let class = word.class().expect("it is not empty");
        let Some(len) = probe.plan()?.entry_read_len(word.pointer(), class) else {
            eprintln!("farrow: {word} points outside of the home's blocks");
            continue;
        };
        let bytes = probe.read(hosted.plan.entry(word.pointer()), len)?.to_vec();
        let verdict = match EntryHeader::open(&bytes) {
            Ok((_, found, _)) if found != key => continue,
            Ok(_) => "valid".to_owned(),
            Err(why) => why.to_string(),
        };
        let len = EntryHeader::parse(&bytes, bytes.len()).map_or(bytes.len(), |header| {
            EntryHeader::LEN + usize::from(header.key_len) + header.value_len as usize
        });
        let text = format!(
            "entry of `{}` behind {word} at {} ({}), {} of memory: {verdict}\n{}{}",
            key::show(key),
            probe.node(),
            role(hosted.rank),
            hosted.plan.entry(word.pointer()),
            fields::text::<EntryHeader>(&bytes),
            hexdump(&bytes[..len])
        );
        let json = json!({
            "node": probe.node().0,
            "home": hosted.home.0,
            "word": format!("{:016x}", word.raw()),
            "address": hosted.plan.entry(word.pointer()).0,
            "verdict": verdict,
            "header": fields::json::<EntryHeader>(&bytes),
            "bytes": key::to_hex(&bytes[..len]),
        });
        return Ok(View { text, json });
    }
    Err(told(Exit::No, format!("no slot of {} names an entry of `{}`", probe.node(), key::show(key))))
}

/// Sixteen bytes a line: offset, digits, characters.
fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, part) in bytes[..bytes.len().min(SHOWN)].chunks(16).enumerate() {
        let (left, right) = part.split_at(part.len().min(8));
        let digits = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
        let letter = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
        let letters: String = part.iter().map(letter).collect();
        text += &format!("  {:06x}  {:24} {:24} {letters}\n", line * 16, digits(left), digits(right));
    }
    if bytes.len() > SHOWN {
        text += &format!("  ... {} more bytes\n", bytes.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::hexdump;

    #[test]
    fn a_dump_lines_up() {
        let dump = hexdump(b"0123456789abcdef\x00z");
        assert_eq!(
            dump,
            "  000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef\n  000010  00 7a                                             .z\n"
        );
        assert!(hexdump(&[0; 600]).ends_with("... 88 more bytes\n"));
    }
}
