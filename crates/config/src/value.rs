//! A value of any kind, and its way into a typed field.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use farrow_layout::Policy;
use toml::de::DeValue;

use crate::Kind;
use crate::quantity::{print_duration, print_size};
use crate::secret::SecretText;

/// A value of any [`Kind`].
///
/// `Display` writes what a flag would say, except for a secret, of which it only tells that there is one.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, where that is allowed.
    Unset,
    /// Text.
    Text(String),
    /// Text that is not shown.
    Secret(SecretText),
    /// Bytes.
    Size(u64),
    /// A time.
    Duration(Duration),
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// From 0 to 1.
    Ratio(f64),
    /// One of the kind's words.
    Choice(&'static str),
    /// Texts.
    List(Vec<String>),
    /// Redundancy.
    Policy(Policy),
}

impl Value {
    /// Reads a value of a TOML file.
    pub(crate) fn from_toml(kind: Kind, toml: &DeValue<'_>) -> Result<Value, String> {
        match (kind, toml) {
            (Kind::Bool, DeValue::Boolean(yes)) => Ok(Value::Bool(*yes)),
            (Kind::Size { .. } | Kind::Integer { .. }, DeValue::Integer(number)) => {
                let number = i64::from_str_radix(number.as_str(), number.radix())
                    .map_err(|_| "it exceeds 64 bits".to_owned())?;
                kind.parse(&number.to_string())
            }
            (Kind::Ratio, DeValue::Integer(number)) => kind.parse(number.as_str()),
            (Kind::Ratio, DeValue::Float(number)) => kind.parse(number.as_str()),
            (Kind::List, DeValue::Array(items)) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Ok(text.to_string()),
                    other => Err(format!("it contains {}", article(other))),
                })
                .collect::<Result<_, _>>()
                .map(Value::List),
            // These have a form of their own in TOML, so that a quoted one is a slip of the pen.
            (Kind::Bool | Kind::Integer { .. } | Kind::Ratio | Kind::List, DeValue::String(_)) => {
                Err("it is a string".to_owned())
            }
            (_, DeValue::String(text)) => kind.parse(text),
            (Kind::Duration { .. }, DeValue::Integer(_) | DeValue::Float(_)) => {
                Err("its unit is missing".to_owned())
            }
            (_, other) => Err(format!("it is {}", article(other))),
        }
    }

    /// The value as it is written in a TOML file; `None` when it is not set or must not be shown.
    pub(crate) fn to_toml(&self) -> Option<String> {
        let quote = |text: &str| toml::Value::from(text).to_string();
        Some(match self {
            Value::Unset | Value::Secret(_) => return None,
            Value::Bool(_) | Value::Integer(_) | Value::Ratio(_) => self.to_string(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(|item| quote(item)).collect::<Vec<_>>().join(", "))
            }
            Value::Text(_) | Value::Size(_) | Value::Duration(_) | Value::Choice(_) | Value::Policy(_) => {
                quote(&self.to_string())
            }
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unset => Ok(()),
            Value::Text(text) => f.write_str(text),
            Value::Secret(_) => f.write_str("(set)"),
            Value::Size(size) => f.write_str(&print_size(*size)),
            Value::Duration(time) => f.write_str(&print_duration(*time)),
            Value::Bool(yes) => write!(f, "{yes}"),
            Value::Integer(number) => write!(f, "{number}"),
            // The debug form keeps the point, without which TOML takes it for an integer.
            Value::Ratio(ratio) => write!(f, "{ratio:?}"),
            Value::Choice(word) => f.write_str(word),
            Value::List(items) => f.write_str(&items.join(",")),
            Value::Policy(policy) => write!(f, "{policy}"),
        }
    }
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The type of a field of the typed configuration.
///
/// Values come checked by their key's [`Kind`]; a type that does not fit the kind is a mistake in the schema, which
/// the first test that runs would meet.
pub(crate) trait Field {
    fn from_value(value: &Value) -> Self;
    fn to_value(&self, kind: Kind) -> Value;
}

macro_rules! field {
    ($Type:ty, $pattern:pat => $from:expr, $this:ident => $to:expr) => {
        impl Field for $Type {
            fn from_value(value: &Value) -> $Type {
                match value {
                    $pattern => $from,
                    other => panic!("the schema gives {} the value {other:?}", stringify!($Type)),
                }
            }
            fn to_value(&self, _: Kind) -> Value {
                let $this = self;
                $to
            }
        }
    };
}

field!(String, Value::Text(text) => text.clone(), this => Value::Text(this.clone()));
field!(Vec<String>, Value::List(items) => items.clone(), this => Value::List(this.clone()));
field!(Duration, Value::Duration(time) => *time, this => Value::Duration(*this));
field!(bool, Value::Bool(yes) => *yes, this => Value::Bool(*this));
field!(f64, Value::Ratio(ratio) => *ratio, this => Value::Ratio(*this));
field!(Policy, Value::Policy(policy) => *policy, this => Value::Policy(*this));

macro_rules! optional_field {
    ($Type:ty, $text:ident => $from:expr, $some:ident => $to:expr, $Variant:ident) => {
        impl Field for Option<$Type> {
            fn from_value(value: &Value) -> Option<$Type> {
                match value {
                    Value::Unset => None,
                    Value::$Variant($text) => Some($from),
                    other => panic!("the schema gives {} the value {other:?}", stringify!($Type)),
                }
            }
            fn to_value(&self, _: Kind) -> Value {
                self.as_ref().map_or(Value::Unset, |$some| Value::$Variant($to))
            }
        }
    };
}

optional_field!(String, text => text.clone(), some => some.clone(), Text);
// A path that is not UTF-8 can only come from a program, and is then only shown.
optional_field!(PathBuf, text => PathBuf::from(text), some => some.to_string_lossy().into_owned(), Text);
optional_field!(SecretText, text => text.clone(), some => some.clone(), Secret);

macro_rules! number_fields {
    ($($Type:ty),*) => {$(
        impl Field for $Type {
            fn from_value(value: &Value) -> $Type {
                match value {
                    Value::Size(size) => <$Type>::try_from(*size).ok(),
                    Value::Integer(number) => <$Type>::try_from(*number).ok(),
                    _ => None,
                }
                .unwrap_or_else(|| panic!("the schema gives {} the value {value:?}", stringify!($Type)))
            }

            fn to_value(&self, kind: Kind) -> Value {
                match kind {
                    // A negative size cannot be: sizes are kept in unsigned fields.
                    Kind::Size { .. } => Value::Size(u64::try_from(*self).expect("sizes are unsigned")),
                    // What a program set beyond the range of i64 is beyond the range of the key as well.
                    _ => Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX)),
                }
            }
        }
    )*};
}

number_fields!(u8, u16, i16, u32, u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let value = Value::Secret(SecretText::new("hunter2hunter2hunter2"));
        assert_eq!(value.to_string(), "(set)");
        assert_eq!(value.to_toml(), None);
        assert!(!format!("{value:?}").contains("hunter2"));
    }

    #[test]
    fn text_is_quoted_for_toml() {
        assert_eq!(Value::Text("a\"b\\c".to_owned()).to_toml().unwrap(), r#"'a"b\c'"#);
        assert_eq!(Value::List(vec!["a".to_owned(), "b".to_owned()]).to_toml().unwrap(), r#"["a", "b"]"#);
        assert_eq!(Value::Ratio(1.0).to_toml().unwrap(), "1.0");
    }
}
