//! The configuration file: which one, and what it sets.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::load::{Layer, Setting};
use crate::schema::{KEYS, SECTIONS};
use crate::suggest::closest;
use crate::{Origin, Problem, Value};

/// The file that is read from the working directory when no other is named.
pub const DEFAULT_FILE: &str = "farrow.toml";

/// Which configuration file is read, and why that one. `Display` says so in a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChoice {
    /// `--config` names it.
    Flag(PathBuf),
    /// `FARROW_CONFIG` names it.
    Environment(PathBuf),
    /// [`DEFAULT_FILE`] is there, in the working directory.
    Found(PathBuf),
    /// There is none.
    None,
}

impl FileChoice {
    /// The file's path.
    pub fn path(&self) -> Option<&Path> {
        match self {
            FileChoice::Flag(path) | FileChoice::Environment(path) | FileChoice::Found(path) => Some(path),
            FileChoice::None => None,
        }
    }
}

impl fmt::Display for FileChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileChoice::Flag(path) => write!(f, "configuration file {} (named by --config)", path.display()),
            FileChoice::Environment(path) => {
                write!(f, "configuration file {} (named by FARROW_CONFIG)", path.display())
            }
            FileChoice::Found(path) => {
                write!(f, "configuration file {} (found in the working directory)", path.display())
            }
            FileChoice::None => {
                write!(f, "no configuration file (no --config, no FARROW_CONFIG, no ./{DEFAULT_FILE})")
            }
        }
    }
}

/// Chooses the file and reads it.
pub(crate) fn read(
    flag: Option<PathBuf>,
    variable: Option<PathBuf>,
    directory: &Path,
) -> (FileChoice, Layer) {
    let choice = match (flag, variable) {
        (Some(path), _) => FileChoice::Flag(path),
        (None, Some(path)) => FileChoice::Environment(path),
        (None, None) => FileChoice::Found(Path::new(".").join(DEFAULT_FILE)),
    };
    let path = choice.path().expect("each of the three names one");
    let layer = match std::fs::read_to_string(directory.join(path)) {
        Ok(text) => settings(&text, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(choice, FileChoice::Found(_)) => {
            return (FileChoice::None, Layer::default());
        }
        Err(error) => {
            let problem = Problem::Unreadable { choice: choice.to_string(), reason: error.to_string() };
            Layer { settings: Vec::new(), problems: vec![problem] }
        }
    };
    (choice, layer)
}

/// What a file's text sets, and what is wrong with it.
pub(crate) fn settings(text: &str, path: &Path) -> Layer {
    let mut layer = Layer::default();
    let line_at = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    let origin = |offset: usize| Origin::File { path: path.to_owned(), line: line_at(offset) };

    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            // Only the message: the error's own display quotes the line, which may hold the secret.
            let line = error.span().map_or(1, |span| line_at(span.start));
            layer.problems.push(Problem::Syntax {
                path: path.to_owned(),
                line,
                message: error.message().to_owned(),
            });
            return layer;
        }
    };
    // The map is ordered by name; problems are easier to follow in the order of the file.
    let mut sections: Vec<_> = table.iter().collect();
    sections.sort_by_key(|(name, _)| name.span().start);
    for (section_name, section) in sections {
        let name = section_name.get_ref().as_ref();
        let at = section_name.span().start;
        if !SECTIONS.iter().any(|section| section.name == name) {
            layer.problems.push(unknown_section(name, origin(at)));
            continue;
        }
        let DeValue::Table(keys) = section.get_ref() else {
            layer.problems.push(Problem::Unknown {
                origin: origin(at),
                what: "key",
                name: name.to_owned(),
                hint: format!(", but a section: write [{name}] and its keys below"),
            });
            continue;
        };
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort_by_key(|(name, _)| name.span().start);
        for (key_name, toml) in keys {
            let at = key_name.span().start;
            let key_name = key_name.get_ref().as_ref();
            let Some(index) = KEYS.iter().position(|key| key.section == name && key.name == key_name) else {
                layer.problems.push(unknown_key(name, key_name, origin(at)));
                continue;
            };
            match Value::from_toml(KEYS[index].kind, toml.get_ref()) {
                Ok(value) => layer.settings.push(Setting { key: index, value, origin: origin(at) }),
                Err(reason) => {
                    let written = text.get(toml.span()).unwrap_or_default().trim_matches('"');
                    layer.problems.push(Problem::value(&KEYS[index], written, origin(at), reason));
                }
            }
        }
    }
    layer
}

fn unknown_section(name: &str, origin: Origin) -> Problem {
    let hint = if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        format!(", did you mean {} below [{}]?", key.name, key.section)
    } else if let Some(known) = closest(name, SECTIONS.iter().map(|section| section.name)) {
        format!(", did you mean [{known}]?")
    } else {
        format!("; there are {}", SECTIONS.iter().map(|section| section.name).collect::<Vec<_>>().join(", "))
    };
    Problem::Unknown { origin, what: "section", name: name.to_owned(), hint }
}

fn unknown_key(section: &str, name: &str, origin: Origin) -> Problem {
    let hint = if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        format!(", did you mean {}?", key.path())
    } else if let Some(known) =
        closest(name, KEYS.iter().filter(|key| key.section == section).map(|key| key.name))
    {
        format!(", did you mean {section}.{known}?")
    } else {
        let known: Vec<_> = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
        format!("; [{section}] has {}", known.join(", "))
    };
    Problem::Unknown { origin, what: "key", name: format!("{section}.{name}"), hint }
}
