//! Where a dump goes.

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::{Path, PathBuf};

/// A file, compressed or not, or standard output.
pub struct Sink {
    to: To,
    /// The file's name while it is written, and in the end.
    names: Option<(Part, PathBuf)>,
}

/// A file that is not whole yet: unless it gets its name, nothing is left of it.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

enum To {
    Stdout(BufWriter<StdoutLock<'static>>),
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl Sink {
    /// Standard output without a path.
    pub fn open(path: Option<&PathBuf>) -> Result<Sink> {
        let Some(path) = path else {
            return Ok(Sink { to: To::Stdout(crate::output::stdout()), names: None });
        };
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        let to = match is_gzip(path) {
            true => To::Gzip(GzEncoder::new(file, Compression::default())),
            false => To::Plain(file),
        };
        Ok(Sink { to, names: Some((Part(part), path.clone())) })
    }

    /// Whether people watch the lines go by.
    pub fn is_terminal(&self) -> bool {
        matches!(self.to, To::Stdout(_)) && io::stdout().is_terminal()
    }

    /// Writes one line.
    pub fn line(&mut self, object: &Value) -> Result<()> {
        let writer: &mut dyn Write = match &mut self.to {
            To::Stdout(out) => out,
            To::Plain(file) => file,
            To::Gzip(file) => file,
        };
        writeln!(writer, "{object}").context("cannot write the dump")
    }

    /// Everything is written: the file gets its name.
    pub fn finish(self) -> Result<()> {
        let finished = match self.to {
            To::Stdout(mut out) => return out.flush().context("cannot write the dump"),
            To::Plain(file) => file.into_inner().map_err(io::IntoInnerError::into_error),
            To::Gzip(gzip) => {
                gzip.finish().and_then(|file| file.into_inner().map_err(io::IntoInnerError::into_error))
            }
        };
        let written = finished.and_then(|file| file.sync_all());
        let (part, path) = self.names.expect("files have names");
        written
            .and_then(|()| std::fs::rename(&part.0, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}
