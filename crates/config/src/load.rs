//! Putting the layers together: default, file, environment, flags.

use std::path::Path;

use clap::ArgMatches;

use crate::schema::{KEYS, Key, key_index};
use crate::{Config, ConfigError, FileChoice, Origin, Problem, Value, environment, file, flags, validate};

/// A configuration, and where each of its values comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    origins: Vec<Origin>,
    file: FileChoice,
}

impl Loaded {
    /// Takes a configuration that a program put together; what differs from the default is the program's.
    pub fn from_config(config: Config) -> Loaded {
        let origins = KEYS
            .iter()
            .zip(config.to_values())
            .map(|(key, value)| if value == key.default_value() { Origin::Default } else { Origin::Program })
            .collect();
        Loaded { config, origins, file: FileChoice::None }
    }

    /// Where a value comes from.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn origin(&self, section: &str, name: &str) -> &Origin {
        &self.origins[key_index(section, name)]
    }

    /// Which file was read.
    pub fn file(&self) -> &FileChoice {
        &self.file
    }

    /// Every key with its value and where that comes from, in the order of [`KEYS`].
    pub fn entries(&self) -> impl Iterator<Item = (&'static Key, Value, &Origin)> {
        KEYS.iter()
            .zip(self.config.to_values())
            .zip(&self.origins)
            .map(|((key, value), origin)| (key, value, origin))
    }
}

/// Loads the configuration: flags beat variables, which beat the file, which beats the defaults.
///
/// The file is the one that `--config` names, or else `FARROW_CONFIG`, or else `./farrow.toml` if there is one.
/// [`Loaded::file`] says which.
///
/// # Errors
/// Everything that is wrong, in all of them, at once.
pub fn load(
    matches: &ArgMatches,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    load_in(Path::new(""), matches, variables)
}

/// As [`load`], with relative paths of configuration files taken from another directory than the working directory.
///
/// # Errors
/// As [`load`].
pub fn load_in(
    directory: &Path,
    matches: &ArgMatches,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let (flags, flag_file) = flags::settings(matches);
    let (environment, variable_file) = environment::settings(variables);
    let (choice, file) = file::read(flag_file, variable_file, directory);
    from_layers(vec![file, environment, flags], choice)
}

/// What one place sets, and what is wrong with it.
#[derive(Default)]
pub(crate) struct Layer {
    pub(crate) settings: Vec<Setting>,
    pub(crate) problems: Vec<Problem>,
}

/// A key is set.
pub(crate) struct Setting {
    /// Position in [`KEYS`].
    pub(crate) key: usize,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Puts layers over the defaults, the strongest last.
pub(crate) fn from_layers(layers: Vec<Layer>, file: FileChoice) -> Result<Loaded, ConfigError> {
    let mut values: Vec<Value> = KEYS.iter().map(Key::default_value).collect();
    let mut origins = vec![Origin::Default; KEYS.len()];
    let mut problems = Vec::new();
    for layer in layers {
        problems.extend(layer.problems);
        for Setting { key, value, origin } in layer.settings {
            values[key] = value;
            origins[key] = origin;
        }
    }
    let config = Config::from_values(&values);
    // Only when each value is right by itself is it worth telling whether they go together.
    if problems.is_empty() {
        problems = validate::together(&config, |index| origins[index].clone());
    }
    ConfigError::unless_empty(problems)?;
    Ok(Loaded { config, origins, file })
}
