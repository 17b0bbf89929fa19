//! Keys and values on the command line: any bytes.

use crate::exit::{Exit, told};
use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches};
use farrow_bench::record::from_hex;
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// The positional argument KEY, and `--hex`.
pub fn args(many: bool) -> [Arg; 2] {
    let key = Arg::new("key").value_name("KEY").required(true).value_parser(clap::value_parser!(OsString));
    let key = match many {
        true => key.num_args(1..).help("The keys, 1 to 1024 bytes each"),
        false => key.help("The key, 1 to 1024 bytes"),
    };
    let hex = Arg::new("hex")
        .long("hex")
        .action(ArgAction::SetTrue)
        .help("KEY is written as pairs of hexadecimal digits: for keys that are no text");
    [key, hex]
}

/// The keys that were given.
pub fn all(matches: &ArgMatches) -> Result<Vec<Vec<u8>>> {
    let keys = matches.get_many::<OsString>("key").expect("required");
    keys.map(|key| parse(key, matches.get_flag("hex"))).collect()
}

/// The key that was given.
pub fn one(matches: &ArgMatches) -> Result<Vec<u8>> {
    Ok(all(matches)?.swap_remove(0))
}

fn parse(text: &OsString, is_hex: bool) -> Result<Vec<u8>> {
    let key = match is_hex {
        false => text.as_bytes().to_vec(),
        true => text.to_str().and_then(from_hex).ok_or_else(|| {
            let text = text.to_string_lossy();
            told(Exit::Usage, format!("`{text}` is no key in hexadecimal digits: write pairs, as in 00ff"))
        })?,
    };
    match key.len() {
        1..=farrow_layout::MAX_KEY_LEN => Ok(key),
        len => Err(told(
            Exit::Usage,
            format!("a key has 1 to {} bytes, this one {len}", farrow_layout::MAX_KEY_LEN),
        )),
    }
}

/// A key in a message: as text if it is printable, else its digits.
pub fn show(key: &[u8]) -> String {
    match printable(key) {
        Some(text) => text.to_owned(),
        None => format!("hex:{}", to_hex(key)),
    }
}

fn printable(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

/// Pairs of digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string takes everything");
        digits
    })
}

/// Adds bytes to an object: as `name` if they are text, else as `name_hex`.
pub fn put(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{name}_hex"), json!(to_hex(bytes))),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_any_bytes() {
        assert_eq!(parse(&"caf\u{e9}".into(), false).unwrap(), "caf\u{e9}".as_bytes());
        assert_eq!(parse(&"00fF".into(), true).unwrap(), [0, 255]);
        for bad in ["", "0", "0g", "\u{e9}"] {
            assert!(parse(&bad.into(), true).is_err(), "{bad}");
        }
        assert!(parse(&"k".repeat(1024).into(), false).is_ok());
        assert!(parse(&"k".repeat(1025).into(), false).is_err());
        assert_eq!([show(b"a b"), show(b"a\n"), show(b"\xff")], ["a b", "hex:610a", "hex:ff"]);
    }

    #[test]
    fn what_is_no_text_is_digits_in_json() {
        let mut object = Map::new();
        put(&mut object, "key", b"k\n");
        put(&mut object, "value", b"\xff\0");
        assert_eq!(Value::from(object).to_string(), r#"{"key":"k\n","value_hex":"ff00"}"#);
    }
}
