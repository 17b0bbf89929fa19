//! A table's redundancy policy.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How many copies and parities protect a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// `copies` full copies; survives `copies - 1` losses.
    Replicate {
        /// Data block and raw copies together: f + 1.
        copies: u8,
    },
}

/// Why a text is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text does not have the form of a policy.
    #[error("`{0}` is not a policy: write replicate:COPIES, for example replicate:3")]
    Malformed(String),
    /// A policy that Farrow knows of but cannot keep yet.
    #[error("policy `{0}` is not supported yet: only replicate:COPIES is")]
    NotYet(String),
    /// No sensible number of copies.
    #[error("replicate:{0} is out of range: between 1 and {max} copies", max = Policy::MAX_COPIES)]
    Copies(u64),
}

impl Policy {
    /// The most copies that a home can have.
    pub const MAX_COPIES: u8 = 7;

    /// Members of a home: the primary and f backups.
    pub fn copies(self) -> usize {
        match self {
            Policy::Replicate { copies } => copies as usize,
        }
    }

    /// Losses that are survived.
    pub fn survives(self) -> usize {
        self.copies() - 1
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Policy, PolicyError> {
        let malformed = || PolicyError::Malformed(text.to_owned());
        let (name, rest) = text.trim().split_once(':').ok_or_else(malformed)?;
        match name {
            "replicate" => {
                let copies: u64 = rest.trim().parse().map_err(|_| malformed())?;
                match copies {
                    1..=7 => Ok(Policy::Replicate { copies: copies as u8 }),
                    _ => Err(PolicyError::Copies(copies)),
                }
            }
            "hybrid" | "ec" => Err(PolicyError::NotYet(text.to_owned())),
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Policy::Replicate { copies } => write!(f, "replicate:{copies}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints_and_refuses_the_rest() {
        assert_eq!("replicate:3".parse(), Ok(Policy::Replicate { copies: 3 }));
        assert_eq!("replicate:3".parse::<Policy>().unwrap().to_string(), "replicate:3");
        assert_eq!("replicate:0".parse::<Policy>(), Err(PolicyError::Copies(0)));
        assert_eq!("replicate:8".parse::<Policy>(), Err(PolicyError::Copies(8)));
        assert!(matches!("ec:4,2".parse::<Policy>(), Err(PolicyError::NotYet(_))));
        for bad in ["", "3", "replicate", "replicate:", "replicate:x", "replicate:-1", "raid:5"] {
            assert!(matches!(bad.parse::<Policy>(), Err(PolicyError::Malformed(_))), "{bad}");
        }
    }
}
