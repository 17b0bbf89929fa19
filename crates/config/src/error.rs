//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use crate::{Key, Origin};

/// Everything that is wrong with a configuration, at least one [`Problem`]; `Display` writes one a line.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// The problems, in the order of file, environment, flags, and all together.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(crate) fn unless_empty(problems: Vec<Problem>) -> Result<(), ConfigError> {
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The configuration file cannot be read.
    #[error("cannot read {choice}: {reason}")]
    Unreadable {
        /// The file, and who asked for it.
        choice: String,
        /// What the operating system says.
        reason: String,
    },
    /// The configuration file is not TOML.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// There is no such key or section.
    #[error("{origin}: there is no {what} `{name}`{hint}")]
    Unknown {
        /// Where it is written.
        origin: Origin,
        /// `key`, `section` or `variable`.
        what: &'static str,
        /// What is written.
        name: String,
        /// What was probably meant, or what there is.
        hint: String,
    },
    /// A value is not what its key accepts.
    #[error("{key} = {value} ({origin}): {reason}; accepted: {accepted}")]
    Value {
        /// The key, `section.key`.
        key: String,
        /// The value as written; a secret is left out.
        value: String,
        /// Where it is written.
        origin: Origin,
        /// Why it is refused.
        reason: String,
        /// What is accepted.
        accepted: String,
    },
    /// Values that are right by themselves do not go together.
    #[error("{message} ({})", places(keys))]
    Conflict {
        /// What is wrong, and what to do.
        message: String,
        /// The keys concerned and where their values come from.
        keys: Vec<(String, Origin)>,
    },
}

impl Problem {
    pub(crate) fn value(key: &Key, value: &str, origin: Origin, reason: String) -> Problem {
        let value =
            if key.kind == crate::Kind::Secret { "(not shown)".to_owned() } else { format!("{value:?}") };
        Problem::Value { key: key.path(), value, origin, reason, accepted: key.kind.accepted() }
    }
}

fn places(keys: &[(String, Origin)]) -> String {
    keys.iter().map(|(key, origin)| format!("{key}: {origin}")).collect::<Vec<_>>().join("; ")
}
