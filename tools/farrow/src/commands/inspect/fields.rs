//! A structure as a list of its fields, from the layout's own description.

use farrow_layout::Described;
use serde_json::{Map, Value, json};

/// The fields of `T` in its bytes, each with its offset, as lines.
pub fn text<T: Described>(bytes: &[u8]) -> String {
    T::FIELDS
        .iter()
        .map(|field| {
            let value = match number(bytes, field.offset, field.size) {
                Some(value) if value < 1 << 32 => format!("{value}"),
                Some(value) => format!("{value:#018x}"),
                None => "..".to_owned(),
            };
            format!("  +{:<4} {:12} {value}\n", field.offset, field.name)
        })
        .collect()
}

/// The same as an object. Reserved bytes are left out.
pub fn json<T: Described>(bytes: &[u8]) -> Map<String, Value> {
    let named = T::FIELDS.iter().filter(|field| !field.name.starts_with("reserved"));
    named.filter_map(|f| Some((f.name.to_owned(), json!(number(bytes, f.offset, f.size)?)))).collect()
}

fn number(bytes: &[u8], offset: usize, size: usize) -> Option<u64> {
    let mut word = [0; 8];
    word.get_mut(..size)?.copy_from_slice(&bytes[offset..offset + size]);
    Some(u64::from_le_bytes(word))
}
