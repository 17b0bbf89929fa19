//! Real records from a file of JSON lines, `{"key": "...", "value": "..."}`, plain or gzipped.
//!
//! Bytes that are no text come as `key_hex` and `value_hex` instead, and an application's flags as `flags`: that is how
//! `farrow dump` writes them.
//!
//! The file is input from anywhere: a bad line is an item of its own, with its number and what is wrong, and
//! reading goes on after it. Only a file that cannot be read any further ends the records early, and says so.
//! Memory is bounded by the longest line that is accepted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::str::Utf8Error;

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use thiserror::Error;

/// The longest key, in bytes.
pub const MAX_KEY_LEN: usize = 1024;
/// The longest line, in bytes without its end: room for a value of 16 MiB, each byte escaped sixfold.
pub const MAX_LINE_LEN: usize = 97 << 20;

/// How every gzip file begins.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// One good line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 1.
    pub line: u64,
    /// The key: 1 to [`MAX_KEY_LEN`] bytes of UTF-8.
    pub key: String,
    /// The value; it may be empty.
    pub value: String,
}

/// One good line whose key or value may be any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytesRecord {
    /// Its number, from 1.
    pub line: u64,
    /// The key: 1 to [`MAX_KEY_LEN`] bytes.
    pub key: Vec<u8>,
    /// The value; it may be empty.
    pub value: Vec<u8>,
    /// The application's flags; 0 when the line has none.
    pub flags: u16,
}

/// A line that is no record.
#[derive(Debug, Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: WhyBad,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
pub enum WhyBad {
    /// Its bytes are no text.
    #[error("is not UTF-8: {0}")]
    NotUtf8(Utf8Error),
    /// It does not begin as an object does.
    #[error("is no JSON object")]
    NotObject,
    /// It is no JSON object with these members, each at most once.
    #[error("is no JSON object with a key and a value: {0}")]
    NotJson(serde_json::Error),
    /// There is no key.
    #[error("has no \"key\"")]
    NoKey,
    /// There is no value.
    #[error("has no \"value\"")]
    NoValue,
    /// The key is something else than text.
    #[error("the key is not a string")]
    KeyNotString,
    /// The value is something else than text.
    #[error("the value is not a string")]
    ValueNotString,
    /// The key is empty.
    #[error("the key is empty")]
    EmptyKey,
    /// The key is too long.
    #[error("the key has {0} bytes; at most {MAX_KEY_LEN} are allowed")]
    LongKey(usize),
    /// Text and hexadecimal digits at once.
    #[error("has both \"{0}\" and \"{0}_hex\"")]
    Both(&'static str),
    /// Not an even number of hexadecimal digits.
    #[error("\"{0}_hex\" is not a string of pairs of hexadecimal digits")]
    NotHex(&'static str),
    /// Bytes where text is needed.
    #[error("the {0} holds bytes that are not UTF-8")]
    NotText(&'static str),
    /// Flags that do not fit.
    #[error("\"flags\" is not a number from 0 to 65535")]
    BadFlags,
    /// The line is too long.
    #[error("is longer than {MAX_LINE_LEN} bytes")]
    LongLine,
    /// The file cannot be read any further: this is the last item.
    #[error("the file cannot be read further, for it is cut or damaged: {0}")]
    Unreadable(io::Error),
}

impl WhyBad {
    /// Whether the records end here although the file may have more.
    pub fn ends_the_file(&self) -> bool {
        matches!(self, WhyBad::Unreadable(_))
    }
}

/// The records of a file, one after the other. Lines of white space are passed over.
pub struct Records {
    input: Box<dyn BufRead + Send>,
    line: u64,
    max_line_len: usize,
    buffer: Vec<u8>,
    ended: bool,
}

impl Records {
    /// Opens a file. It is taken as gzip if it begins as gzip does, whatever its name.
    ///
    /// # Errors
    /// If it cannot be opened, or its first bytes cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_reader(File::open(path)?)
    }

    /// Reads records from anything that is read as a file.
    ///
    /// # Errors
    /// If the first bytes cannot be read.
    pub fn from_reader(input: impl Read + Send + 'static) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(1 << 16, input);
        let is_gzip = input.fill_buf()?.starts_with(&GZIP_MAGIC);
        let input: Box<dyn BufRead + Send> = if is_gzip {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(input)))
        } else {
            Box::new(input)
        };
        Ok(Self { input, line: 0, max_line_len: MAX_LINE_LEN, buffer: Vec::new(), ended: false })
    }

    /// Puts the next line into the buffer, without its end. `Ok(false)`: there is none.
    fn read_line(&mut self) -> Result<bool, WhyBad> {
        self.buffer.clear();
        self.line += 1;
        let limit = u64::try_from(self.max_line_len).expect("the limit is small") + 1;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.buffer);
        if read.map_err(WhyBad::Unreadable)? == 0 {
            return Ok(false);
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if self.buffer.len() > self.max_line_len {
            self.buffer = Vec::new();
            self.input.skip_until(b'\n').map_err(WhyBad::Unreadable)?;
            return Err(WhyBad::LongLine);
        }
        Ok(true)
    }
}

impl Records {
    /// The next line as bytes: what the iterator refuses because it is no text is a record here.
    pub fn next_bytes(&mut self) -> Option<Result<BytesRecord, BadLine>> {
        while !self.ended {
            let outcome = match self.read_line() {
                Ok(true) if self.buffer.iter().all(u8::is_ascii_whitespace) => continue,
                Ok(true) => parse(&self.buffer),
                Ok(false) => {
                    self.ended = true;
                    return None;
                }
                Err(why) => Err(why),
            };
            let line = self.line;
            self.ended = outcome.as_ref().is_err_and(WhyBad::ends_the_file);
            return Some(match outcome {
                Ok(record) => Ok(BytesRecord { line, ..record }),
                Err(why) => Err(BadLine { line, why }),
            });
        }
        None
    }
}

impl Iterator for Records {
    type Item = Result<Record, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = |BytesRecord { line, key, value, .. }: BytesRecord| {
            let utf8 = |bytes, name| {
                String::from_utf8(bytes).map_err(|_| BadLine { line, why: WhyBad::NotText(name) })
            };
            Ok(Record { line, key: utf8(key, "key")?, value: utf8(value, "value")? })
        };
        Some(self.next_bytes()?.and_then(text))
    }
}

/// The members that matter. Others are ignored; a member that comes twice is an error of the derived code.
#[derive(Deserialize)]
struct Members {
    #[serde(default, deserialize_with = "present")]
    key: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    key_hex: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    value_hex: Option<Value>,
    #[serde(default)]
    flags: Option<Value>,
}

/// Keeps `null` apart from nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The record of a line; its number is the caller's to say.
fn parse(line: &[u8]) -> Result<BytesRecord, WhyBad> {
    let text = str::from_utf8(line).map_err(WhyBad::NotUtf8)?;
    // An array would pass as the members in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(WhyBad::NotObject);
    }
    let members: Members = serde_json::from_str(text).map_err(WhyBad::NotJson)?;
    let key = bytes("key", members.key, members.key_hex, WhyBad::KeyNotString)?.ok_or(WhyBad::NoKey)?;
    let value =
        bytes("value", members.value, members.value_hex, WhyBad::ValueNotString)?.ok_or(WhyBad::NoValue)?;
    let flags = match members.flags {
        None => 0,
        Some(flags) => flags.as_u64().and_then(|flags| u16::try_from(flags).ok()).ok_or(WhyBad::BadFlags)?,
    };
    match key.len() {
        0 => Err(WhyBad::EmptyKey),
        key_len if key_len > MAX_KEY_LEN => Err(WhyBad::LongKey(key_len)),
        _ => Ok(BytesRecord { line: 0, key, value, flags }),
    }
}

/// A member that is text, or hexadecimal digits under its other name.
fn bytes(
    name: &'static str,
    text: Option<Value>,
    hex: Option<Value>,
    not_string: WhyBad,
) -> Result<Option<Vec<u8>>, WhyBad> {
    match (text, hex) {
        (None, None) => Ok(None),
        (Some(Value::String(text)), None) => Ok(Some(text.into_bytes())),
        (Some(_), None) => Err(not_string),
        (None, Some(Value::String(digits))) => from_hex(&digits).ok_or(WhyBad::NotHex(name)).map(Some),
        (None, Some(_)) => Err(WhyBad::NotHex(name)),
        (Some(_), Some(_)) => Err(WhyBad::Both(name)),
    }
}

/// Bytes from pairs of hexadecimal digits; `None` for any other text.
pub fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|nibble| nibble as u8);
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.as_bytes().chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::workload::value_size::ValueSizes;

    fn sample() -> Vec<u8> {
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample.jsonl.gz")).unwrap()
    }

    fn records(bytes: &[u8]) -> Records {
        Records::from_reader(Cursor::new(bytes.to_vec())).unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Each line's number and either its key or what its error says.
    fn outline(bytes: &[u8]) -> Vec<String> {
        let outline = |item: Result<Record, BadLine>| match item {
            Ok(record) => format!("{} {}", record.line, record.key),
            Err(bad) => bad.to_string(),
        };
        records(bytes).map(outline).collect()
    }

    #[test]
    fn the_sample_is_read_whole() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample.jsonl.gz");
        let all: Vec<Record> = Records::open(&path).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), 200);
        assert_eq!(all.last().unwrap().line, 200);
        assert!(all.iter().all(|record| record.value.starts_with(&format!("Package: {}\n", record.key))));
        let sizes = ValueSizes::listed(all.iter().map(|record| record.value.len())).unwrap();
        assert!((500.0..1_500.0).contains(&sizes.mean()), "mean {}", sizes.mean());
    }

    #[test]
    fn bytes_that_are_no_text_come_as_digits() {
        let file = concat!(
            "{\"key_hex\":\"00fF\",\"value\":\"v\",\"flags\":7}\n",
            "{\"key\":\"k\",\"value_hex\":\"\"}\n",
            "{\"key\":\"k\",\"key_hex\":\"00\",\"value\":\"\"}\n",
            "{\"key_hex\":\"0\",\"value\":\"\"}\n",
            "{\"key_hex\":\"\u{e9}\",\"value\":\"\"}\n",
            "{\"key\":\"k\",\"value\":\"\",\"flags\":65536}\n",
        );
        let mut lines = records(file.as_bytes());
        let good = |line, key: &[u8], value: &[u8], flags| BytesRecord {
            line,
            key: key.to_vec(),
            value: value.to_vec(),
            flags,
        };
        assert_eq!(lines.next_bytes().unwrap().unwrap(), good(1, b"\0\xff", b"v", 7));
        assert_eq!(lines.next_bytes().unwrap().unwrap(), good(2, b"k", b"", 0));
        let said: Vec<_> =
            std::iter::from_fn(|| lines.next_bytes()).map(|r| r.unwrap_err().to_string()).collect();
        assert_eq!(said.len(), 4);
        assert!(said[0].contains("both"), "{}", said[0]);
        assert!(said[1].contains("pairs of hexadecimal") && said[2].contains("pairs of hexadecimal"));
        assert!(said[3].contains("65535"), "{}", said[3]);
        assert!(outline(file.as_bytes())[0].contains("not UTF-8"));
    }

    #[test]
    fn plain_files_gzip_files_and_joined_gzip_files_are_the_same() {
        let lines =
            b"{\"key\":\"a\",\"value\":\"1\"}\n{\"value\":\"\",\"key\":\"\\u00e9\\n\",\"other\":[1]}\r\n";
        let last = b"\n  \n{\"key\":\"c\",\"value\":\"3\"}";
        let plain = [lines.as_slice(), last].concat();
        let joined = [gzip(lines), gzip(last)].concat();
        let expected = vec!["1 a", "2 \u{e9}\n", "5 c"];
        assert_eq!(outline(&plain), expected);
        assert_eq!(outline(&gzip(&plain)), expected);
        assert_eq!(outline(&joined), expected);
        assert!(outline(b"").is_empty());
        assert!(outline(&gzip(b"")).is_empty());
    }

    #[test]
    fn hostile_lines_are_told_one_by_one_and_reading_goes_on() {
        let long = format!("{{\"key\":\"{}\",\"value\":\"\"}}", "k".repeat(1025));
        let longest = format!("{{\"key\":\"{}\",\"value\":\"\"}}", "k".repeat(1024));
        let deep = format!("{{\"key\":\"a\",\"value\":{}}}", "[".repeat(100_000));
        let lines: Vec<(&[u8], &str)> = vec![
            (b"{\"key\":\"a\xff\",\"value\":\"1\"}", "is not UTF-8"),
            (b"\0\0\0", "is no JSON object"),
            (b"{\"key\":\"a\",\"value\":\"1\"", "is no JSON object"),
            (b"{\"key\":\"a\",\"value\":\"1\"} x", "is no JSON object"),
            (b"{\"key\":\"a\",\"value\":\"\\ud800\"}", "is no JSON object"),
            (b"{\"key\":\"a\",\"key\":\"b\",\"value\":\"1\"}", "duplicate field"),
            (b"[1]", "is no JSON object"),
            (b"null", "is no JSON object"),
            (b"{}", "has no \"key\""),
            (b"{\"value\":\"1\"}", "has no \"key\""),
            (b"{\"key\":\"a\"}", "has no \"value\""),
            (b"{\"key\":null,\"value\":\"1\"}", "the key is not a string"),
            (b"{\"key\":7,\"value\":\"1\"}", "the key is not a string"),
            (b"{\"key\":\"a\",\"value\":null}", "the value is not a string"),
            (b"{\"key\":\"a\",\"value\":{\"b\":1}}", "the value is not a string"),
            (b"{\"key\":\"\",\"value\":\"1\"}", "the key is empty"),
            (long.as_bytes(), "the key has 1025 bytes"),
            (deep.as_bytes(), "recursion limit"),
        ];
        let mut file = Vec::new();
        for (line, _) in &lines {
            file.extend_from_slice(line);
            file.push(b'\n');
        }
        file.extend_from_slice(longest.as_bytes());
        let told = outline(&file);
        assert_eq!(told.len(), lines.len() + 1);
        for (index, (_, expected)) in lines.iter().enumerate() {
            let text = &told[index];
            assert!(text.starts_with(&format!("line {}: ", index + 1)), "{text}");
            assert!(text.contains(expected), "{text} should contain {expected}");
        }
        assert_eq!(told.last().unwrap(), &format!("{} {}", lines.len() + 1, "k".repeat(1024)));
    }

    #[test]
    fn a_cut_or_damaged_gzip_file_gives_what_is_whole_and_then_one_error() {
        let whole = sample();
        for cut in [3, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            let items: Vec<_> = records(&whole[..cut]).collect();
            let (last, before) = items.split_last().unwrap();
            assert!(before.iter().all(Result::is_ok), "cut at {cut}");
            let bad = last.as_ref().unwrap_err();
            assert!(bad.why.ends_the_file(), "cut at {cut}: {bad}");
            assert_eq!(bad.line, before.len() as u64 + 1);
        }
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 0xff;
        let items: Vec<_> = records(&damaged).collect();
        assert!(items.last().unwrap().is_err());
    }

    #[test]
    fn lines_beyond_the_limit_are_passed_over() {
        let good = "{\"key\":\"a\",\"value\":\"12\"}";
        let file = format!("{good}\n{}\n{good}\n{good} \n{}", "x".repeat(100), "y".repeat(30));
        let mut limited = records(file.as_bytes());
        limited.max_line_len = good.len();
        let kept: Vec<Result<u64, u64>> =
            limited.map(|item| item.map(|record| record.line).map_err(|bad| bad.line)).collect();
        assert_eq!(kept, [Ok(1), Err(2), Ok(3), Err(4), Err(5)]);
    }
}
