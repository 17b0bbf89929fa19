//! Standard output. A reader that goes away (`farrow dump | head`) is an error like any other here, and none in `main`.

use serde_json::Value;
use std::io::{self, BufWriter, StdoutLock, Write};

/// Standard output, buffered; flush it at the end.
pub fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Prints text as it is.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints text and ends the line.
pub fn say(text: &str) -> io::Result<()> {
    let mut out = stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints one JSON object over several lines, for people too.
pub fn json(object: &Value) -> io::Result<()> {
    say(&format!("{object:#}"))
}
