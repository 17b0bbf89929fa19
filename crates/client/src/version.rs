//! The version of a value.

use farrow_layout::Word;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Stands for one particular value of one key. Two versions of a key are equal if and only if nothing was put between
/// them (within the quarantine: minutes); they have no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    pub(crate) fn of(word: Word) -> Version {
        Version(word.raw())
    }

    /// The slot's word that it stands for, for tools that look at memory.
    pub fn word(self) -> Word {
        Word::from_raw(self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        u64::from_str_radix(text, 16).map(Version).map_err(|_| {
            format!("`{text}` is not a version: sixteen hexadecimal digits, as `farrow get --meta` prints")
        })
    }
}
