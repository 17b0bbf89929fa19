//! A configuration for people and for machines: what `farrow config show` prints.
//!
//! No form contains the secret.

use std::fmt::Write;

use serde_json::{Map, json};

use crate::schema::SECTIONS;
use crate::{Loaded, Value};

/// One line a key: its name, value, origin and meaning.
pub fn render_table(loaded: &Loaded) -> String {
    let mut rows = vec![["KEY".to_owned(), "VALUE".to_owned(), "ORIGIN".to_owned(), "MEANING".to_owned()]];
    rows.extend(loaded.entries().map(|(key, value, origin)| {
        // An empty cell would look like a lost one.
        let value = match value.to_string() {
            empty if empty.is_empty() => "-".to_owned(),
            value => value,
        };
        [key.path(), value, origin.to_string(), key.doc.to_owned()]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (key_width, value_width, origin_width) = (width(0), width(1), width(2));
    let mut table = String::new();
    for [key, value, origin, doc] in &rows {
        writeln!(table, "{key:key_width$}  {value:value_width$}  {origin:origin_width$}  {doc}")
            .expect("a string takes everything");
    }
    table
}

/// A commented file that loads back as the same configuration, but for the secret, which is left out.
pub fn render_toml(loaded: &Loaded) -> String {
    let mut file = String::new();
    for section in SECTIONS {
        let gap = if file.is_empty() { "" } else { "\n" };
        write!(file, "{gap}# {}\n[{}]\n", section.doc, section.name).expect("a string takes everything");
        for (key, value, _) in loaded.entries().filter(|(key, ..)| key.section == section.name) {
            let default = key.default_value();
            let default = default.to_toml().unwrap_or_else(|| "not set".to_owned());
            let written = match (value.to_toml(), &value) {
                (Some(written), _) => format!("{} = {written}", key.name),
                (None, Value::Secret(_)) => format!("# {} is set and not shown", key.name),
                (None, _) => {
                    let example =
                        key.kind.parse(key.example).expect("examples fit their kinds, which a test checks");
                    let example = example.to_toml().unwrap_or_else(|| format!("{:?}", key.example));
                    format!("# {} = {example}", key.name)
                }
            };
            write!(
                file,
                "\n# {}\n# Accepted: {}. Default: {default}.\n{written}\n",
                key.doc,
                key.kind.accepted()
            )
            .expect("a string takes everything");
        }
    }
    file
}

/// An object with the file that was read, and for each section and key its `value` and `origin`.
///
/// Sizes, times and policies are text as in the file; a value that is not set is `null`, a secret that is, `"(set)"`.
pub fn to_json(loaded: &Loaded) -> serde_json::Value {
    let mut sections = Map::new();
    for section in SECTIONS {
        let keys: Map<_, _> = loaded
            .entries()
            .filter(|(key, ..)| key.section == section.name)
            .map(|(key, value, origin)| {
                (key.name.to_owned(), json!({ "value": json_value(&value), "origin": origin.to_string() }))
            })
            .collect();
        sections.insert(section.name.to_owned(), keys.into());
    }
    json!({ "file": loaded.file().path().map(|path| path.to_string_lossy()), "config": sections })
}

fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Unset => serde_json::Value::Null,
        Value::Bool(yes) => json!(yes),
        Value::Integer(number) => json!(number),
        Value::Ratio(ratio) => json!(ratio),
        Value::List(items) => json!(items),
        Value::Text(_)
        | Value::Secret(_)
        | Value::Size(_)
        | Value::Duration(_)
        | Value::Choice(_)
        | Value::Policy(_) => json!(value.to_string()),
    }
}
