//! What flags set.

use std::path::PathBuf;

use clap::parser::MatchesError;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::load::{Layer, Setting};
use crate::schema::{KEYS, SECTIONS};
use crate::{Kind, Origin, Problem};

const CONFIG_FLAG: &str = "config";

/// Adds `--config` and a flag for each key of these sections to a command, a help heading for each section.
///
/// # Panics
/// When a section does not exist: the names are the program's own.
pub fn args(command: Command, sections: &[&str]) -> Command {
    for section in sections {
        assert!(SECTIONS.iter().any(|known| known.name == *section), "the schema has no section {section}");
    }
    let config = Arg::new(CONFIG_FLAG)
        .long(CONFIG_FLAG)
        .value_name("PATH")
        .help("Configuration file [default: ./farrow.toml if there is one] [env: FARROW_CONFIG]");
    KEYS.iter().filter(|key| sections.contains(&key.section)).fold(command.arg(config), |command, key| {
        let default = match key.default {
            "" => "none",
            default => default,
        };
        let mut arg = Arg::new(key.flag())
            .long(key.flag())
            .value_name(key.kind.placeholder())
            .help_heading(format!("Section {}", key.section))
            .help(format!("{} [default: {default}] [env: {}]", key.doc, key.variable()))
            .long_help(format!(
                "{}\nAccepted: {}\n[default: {default}] [env: {}]",
                key.doc,
                key.kind.accepted(),
                key.variable()
            ));
        if key.kind == Kind::List {
            arg = arg.action(ArgAction::Append);
        }
        if let Kind::Integer { min: ..0, .. } = key.kind {
            arg = arg.allow_negative_numbers(true);
        }
        command.arg(arg)
    })
}

/// What the flags set, what is wrong with them, and the configuration file they name.
pub(crate) fn settings(matches: &ArgMatches) -> (Layer, Option<PathBuf>) {
    let mut layer = Layer::default();
    for (index, key) in KEYS.iter().enumerate() {
        let name = key.flag();
        let Some(written) = values(matches, &name) else {
            continue;
        };
        let text = written.join(",");
        let origin = Origin::Flag { name };
        match key.kind.parse(&text) {
            Ok(value) => layer.settings.push(Setting { key: index, value, origin }),
            Err(reason) => layer.problems.push(Problem::value(key, &text, origin, reason)),
        }
    }
    let file = values(matches, CONFIG_FLAG).and_then(|mut paths| paths.pop()).map(PathBuf::from);
    (layer, file)
}

/// The values of a flag; `None` when it is not given, or the command does not have it.
fn values(matches: &ArgMatches, name: &str) -> Option<Vec<String>> {
    match matches.try_get_many::<String>(name) {
        Ok(values) => values.map(|values| values.cloned().collect()),
        Err(MatchesError::UnknownArgument { .. }) => None,
        Err(error) => panic!("another argument of the command takes the name --{name}: {error}"),
    }
}
