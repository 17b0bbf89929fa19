//! Keys as text: printable ASCII as it is, every other byte escaped, so that any key fits a JSON string.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// The key in ASCII: a backslash becomes `\\`, a byte that is not printable ASCII becomes `\xNN`.
pub fn key_text(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for &byte in key {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// The key that `text` stands for, or why it stands for none.
fn parse(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut key = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'\\' => match rest {
                [b'\\', tail @ ..] => {
                    key.push(b'\\');
                    rest = tail;
                }
                [b'x', high, low, tail @ ..] => {
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                        return Err("\\x in a key must be followed by two hexadecimal digits");
                    };
                    key.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits fit a byte"));
                    rest = tail;
                }
                _ => return Err("a backslash in a key must begin \\\\ or \\xNN"),
            },
            b' '..=b'~' => key.push(*first),
            _ => return Err("a key is written in printable ASCII; write other bytes as \\xNN"),
        }
    }
    Ok(key)
}

pub(super) fn serialize<S: Serializer>(key: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&key_text(key))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let key: Vec<u8> = (0..=255).collect();
        let text = key_text(&key);
        assert!(text.is_ascii());
        assert_eq!(parse(&text), Ok(key));
    }

    #[test]
    fn a_printable_key_reads_as_itself() {
        assert_eq!(key_text(b"user42 \"x\""), "user42 \"x\"");
        assert_eq!(key_text(b"a\\b\n"), "a\\\\b\\x0a");
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["\\", "\\n", "\\x", "\\x1", "\\xg0", "\\x+1", "\u{e9}", "\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
