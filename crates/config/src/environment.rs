//! What environment variables set.

use std::path::PathBuf;

use crate::load::{Layer, Setting};
use crate::schema::{KEYS, Key, SECTIONS};
use crate::suggest::closest;
use crate::{Origin, Problem};

/// Variables with our prefix that set no key, and what they are for. A `*` at the end stands for anything.
pub const IGNORED_VARIABLES: &[(&str, &str)] = &[
    ("FARROW_CONFIG", "path of the configuration file, when there is no --config"),
    ("FARROW_BLESS", "tests rewrite the documents they compare"),
    ("FARROW_TEST_*", "settings of tests"),
    ("FARROW_BENCH_*", "settings of benchmark scripts"),
    ("FARROW_RXE_*", "settings of the scripts that set up Soft-RoCE"),
    ("FARROW_GUEST_*", "settings of the scripts that start a virtual machine"),
];

const PREFIX: &str = "FARROW_";

/// This process's variables, for [`crate::load`].
///
/// Unlike `std::env::vars` it does not panic where one of them is not UTF-8; [`crate::load`] refuses such a value if
/// it is ours.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

/// What the variables set, what is wrong with them, and the configuration file they name.
pub(crate) fn settings(variables: impl Iterator<Item = (String, String)>) -> (Layer, Option<PathBuf>) {
    let mut layer = Layer::default();
    let mut file = None;
    // Their order is that of the process's start; sorted, the same mistakes give the same message.
    let mut variables: Vec<_> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        let origin = Origin::Environment { name: name.clone() };
        if name == "FARROW_CONFIG" {
            file = (!value.is_empty()).then(|| PathBuf::from(value));
        } else if let Some(index) = KEYS.iter().position(|key| key.variable() == name) {
            let key = &KEYS[index];
            let parsed = if value.contains(char::REPLACEMENT_CHARACTER) {
                Err("it is not UTF-8".to_owned())
            } else {
                key.kind.parse(&value)
            };
            match parsed {
                Ok(value) => layer.settings.push(Setting { key: index, value, origin }),
                Err(reason) => layer.problems.push(Problem::value(key, &value, origin, reason)),
            }
        } else if let Some(hint) = mistaken(&name) {
            layer.problems.push(Problem::Unknown { origin, what: "variable", name, hint });
        }
    }
    (layer, file)
}

/// Whether a variable that sets no key was meant to: it names one of our sections, or is very like one of ours.
fn mistaken(name: &str) -> Option<String> {
    if IGNORED_VARIABLES.iter().any(|(pattern, _)| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *pattern,
    }) {
        return None;
    }
    let rest = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let section = SECTIONS.iter().map(|section| section.name).find(|section| {
        rest.strip_prefix(section).is_some_and(|behind| behind.is_empty() || behind.starts_with('_'))
    });
    let candidates: Vec<String> = KEYS
        .iter()
        .filter(|key| section.is_none_or(|section| key.section == section))
        .map(Key::variable)
        .collect();
    // All share the prefix, which would make strangers alike.
    let known = closest(
        &rest,
        candidates
            .iter()
            .map(|known| &known[PREFIX.len()..])
            .map(str::to_ascii_lowercase)
            .collect::<Vec<_>>()
            .iter(),
    )
    .map(|known| format!("{PREFIX}{}", known.to_ascii_uppercase()));
    match (known, section) {
        (Some(known), _) => Some(format!(", did you mean {known}?")),
        (None, Some(_)) => Some(format!("; there are {}", candidates.join(", "))),
        (None, None) => None,
    }
}
