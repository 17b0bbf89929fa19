//! What a key's value is, and what is accepted for it.

use std::time::Duration;

use crate::quantity::{parse_duration, parse_size, print_duration, print_size};
use crate::secret::SecretText;
use crate::value::Value;

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Text that is never empty.
    Text,
    /// Text, or nothing when empty.
    OptionalText,
    /// As optional text, but never shown.
    Secret,
    /// Bytes: `8GiB`, `64KiB`, or a plain number.
    Size {
        /// The smallest accepted.
        min: u64,
        /// The largest accepted.
        max: u64,
    },
    /// A time with its unit: `10s`, `200ms`, `5us`.
    Duration {
        /// The shortest accepted.
        min: Duration,
        /// The longest accepted.
        max: Duration,
    },
    /// Yes or no.
    Bool,
    /// A whole number.
    Integer {
        /// The smallest accepted.
        min: i64,
        /// The largest accepted.
        max: i64,
    },
    /// A number from 0 to 1.
    Ratio,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any number of texts: with commas between them in a flag or variable, an array in TOML.
    List,
    /// Redundancy: `replicate:3`.
    Policy,
}

impl Kind {
    /// Reads a value as it is written in a flag, a variable or the schema.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        let word = text.trim();
        let value = match self {
            Kind::Text if text.is_empty() => return Err("it is empty".to_owned()),
            Kind::Text => Value::Text(text.to_owned()),
            Kind::OptionalText | Kind::Secret if text.is_empty() => Value::Unset,
            Kind::OptionalText => Value::Text(text.to_owned()),
            Kind::Secret => Value::Secret(SecretText::new(text)),
            Kind::Size { .. } => Value::Size(parse_size(word)?),
            Kind::Duration { .. } => Value::Duration(parse_duration(word)?),
            Kind::Bool => match word {
                "true" | "yes" | "on" | "1" => Value::Bool(true),
                "false" | "no" | "off" | "0" => Value::Bool(false),
                _ => return Err("it is neither".to_owned()),
            },
            Kind::Integer { .. } => {
                let digits: String = word.chars().filter(|&c| c != '_').collect();
                Value::Integer(digits.parse().map_err(|_| "it is not a whole number".to_owned())?)
            }
            Kind::Ratio => Value::Ratio(word.parse().map_err(|_| "it is not a number".to_owned())?),
            Kind::Choice(words) => match words.iter().find(|known| **known == word) {
                Some(known) => Value::Choice(known),
                None => {
                    return Err(format!("there is no such choice{}", crate::suggest::hint(word, words)));
                }
            },
            Kind::List => Value::List(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            ),
            Kind::Policy => {
                Value::Policy(word.parse().map_err(|error: farrow_layout::PolicyError| error.to_string())?)
            }
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a value against the range.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        let (low, high) = match (self, value) {
            (Kind::Size { min, max }, Value::Size(size)) => (*size < min, *size > max),
            (Kind::Duration { min, max }, Value::Duration(time)) => (*time < min, *time > max),
            (Kind::Integer { min, max }, Value::Integer(number)) => (*number < min, *number > max),
            // Not a number is on neither side of anything.
            (Kind::Ratio, Value::Ratio(ratio)) => (*ratio < 0.0 || ratio.is_nan(), *ratio > 1.0),
            (Kind::Text, Value::Text(text)) if text.is_empty() => return Err("it is empty".to_owned()),
            _ => (false, false),
        };
        match (low, high) {
            (true, _) => Err("it is too small".to_owned()),
            (_, true) => Err("it is too large".to_owned()),
            (false, false) => Ok(()),
        }
    }

    /// What is accepted, for messages and documents.
    pub fn accepted(self) -> String {
        match self {
            Kind::Text => "text".to_owned(),
            Kind::OptionalText | Kind::Secret => "text, empty for none".to_owned(),
            Kind::Size { min, max } => {
                format!(
                    "a size such as 64KiB, 8GiB or a number of bytes, {} to {}",
                    print_size(min),
                    print_size(max)
                )
            }
            Kind::Duration { min, max } => format!(
                "a time with its unit such as 10s, 200ms or 5us, {} to {}",
                print_duration(min),
                print_duration(max)
            ),
            Kind::Bool => "true or false".to_owned(),
            Kind::Integer { min, max } => format!("a whole number, {min} to {max}"),
            Kind::Ratio => "a number, 0 to 1".to_owned(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::List => "a list: a,b,c in a flag or variable, [\"a\", \"b\", \"c\"] in TOML".to_owned(),
            Kind::Policy => format!("replicate:COPIES, 1 to {} copies", farrow_layout::Policy::MAX_COPIES),
        }
    }

    /// The placeholder of a flag's value.
    pub(crate) fn placeholder(self) -> &'static str {
        match self {
            Kind::Text | Kind::OptionalText | Kind::Secret => "TEXT",
            Kind::Size { .. } => "SIZE",
            Kind::Duration { .. } => "TIME",
            Kind::Bool => "BOOL",
            Kind::Integer { .. } => "NUMBER",
            Kind::Ratio => "RATIO",
            Kind::Choice(_) => "CHOICE",
            Kind::List => "LIST",
            Kind::Policy => "POLICY",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_reads_its_forms() {
        let size = Kind::Size { min: 0, max: u64::MAX };
        assert_eq!(size.parse(" 8GiB "), Ok(Value::Size(8 << 30)));
        let time = Kind::Duration { min: Duration::ZERO, max: Duration::MAX };
        assert_eq!(time.parse("200ms"), Ok(Value::Duration(Duration::from_millis(200))));
        assert_eq!(Kind::Bool.parse("yes"), Ok(Value::Bool(true)));
        assert_eq!(Kind::Bool.parse("off"), Ok(Value::Bool(false)));
        let integer = Kind::Integer { min: -1, max: 1_000_000 };
        assert_eq!(integer.parse("1_000_000"), Ok(Value::Integer(1_000_000)));
        assert_eq!(integer.parse("-1"), Ok(Value::Integer(-1)));
        assert_eq!(Kind::Ratio.parse("0.25"), Ok(Value::Ratio(0.25)));
        assert_eq!(
            Kind::List.parse("a, b,,c,"),
            Ok(Value::List(["a", "b", "c"].map(str::to_owned).to_vec()))
        );
        assert_eq!(Kind::List.parse(""), Ok(Value::List(Vec::new())));
        assert_eq!(Kind::OptionalText.parse(""), Ok(Value::Unset));
        assert_eq!(Kind::Text.parse(" kept "), Ok(Value::Text(" kept ".to_owned())));
    }

    #[test]
    fn each_kind_refuses_nonsense() {
        let refused = [
            (Kind::Text, ""),
            (Kind::Bool, "maybe"),
            (Kind::Bool, ""),
            (Kind::Integer { min: 0, max: 9 }, "10"),
            (Kind::Integer { min: 0, max: 9 }, "-1"),
            (Kind::Integer { min: 0, max: 9 }, "1.5"),
            (Kind::Integer { min: 0, max: 9 }, ""),
            (Kind::Integer { min: i64::MIN, max: i64::MAX }, "9223372036854775808"),
            (Kind::Ratio, "1.01"),
            (Kind::Ratio, "-0.1"),
            (Kind::Ratio, "NaN"),
            (Kind::Ratio, "ten"),
            (Kind::Choice(&["a", "b"]), "c"),
            (Kind::Choice(&["a", "b"]), ""),
            (Kind::Size { min: 10, max: 20 }, "9"),
            (Kind::Size { min: 10, max: 20 }, "21"),
            (Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(2) }, "999ms"),
            (Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(2) }, "3s"),
            (Kind::Policy, "raid:5"),
            (Kind::Policy, "replicate:0"),
        ];
        for (kind, text) in refused {
            assert!(kind.parse(text).is_err(), "{kind:?} accepts {text:?}");
        }
    }
}
