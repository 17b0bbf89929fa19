//! The cluster's secret, from the configuration or the file it names.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use farrow_control::{Secret, SecretTooShort};
use zeroize::Zeroizing;

use crate::Cluster;

/// A file longer than this is not a secret but a mistake.
const MAX_FILE_LEN: u64 = 64 << 10;

/// Permission bits of everybody who is neither the owner nor in the group.
const OTHERS: u32 = 0o007;

/// A secret as it is written in a configuration. It is wiped when dropped, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a secret in clear.
    pub fn new(text: impl Into<String>) -> SecretText {
        SecretText(Zeroizing::new(text.into()))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Cluster {
    /// The cluster's secret, from `secret` or from the file that `secret_file` names, without the white space around
    /// it. A relative path starts at the working directory.
    ///
    /// # Errors
    /// There is none, it is too short, or its file cannot be read or can be read by everybody.
    pub fn load_secret(&self) -> Result<Secret, SecretError> {
        let (text, place) = match (&self.secret, &self.secret_file) {
            (Some(_), Some(_)) => return Err(SecretError::Both),
            (None, None) => return Err(SecretError::Missing),
            (Some(text), None) => (Zeroizing::new(text.0.as_bytes().to_vec()), "cluster.secret".to_owned()),
            (None, Some(path)) => (read_file(path)?, path.display().to_string()),
        };
        Secret::from_bytes(text.trim_ascii()).map_err(|source| SecretError::TooShort { place, source })
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // Of the open file, not of the path, which may name another file by now.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode: mode & 0o7777 });
    }
    let mut text = Zeroizing::new(Vec::new());
    let read = file.take(MAX_FILE_LEN + 1).read_to_end(&mut text).map_err(unreadable)?;
    if read as u64 > MAX_FILE_LEN {
        return Err(SecretError::TooLong { path: path.to_owned() });
    }
    Ok(text)
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Neither key is set.
    #[error(
        "the cluster has no secret: make one with `(umask 077; head -c 32 /dev/urandom | base64 > farrow.secret)` and \
         set cluster.secret_file to that file on every node and client"
    )]
    Missing,
    /// Both keys are set.
    #[error("cluster.secret and cluster.secret_file are both set: set one of them")]
    Both,
    /// The file cannot be read.
    #[error("cannot read the cluster's secret from {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Everybody on the host has access to the file.
    #[error(
        "everybody has access to the cluster's secret in {0} (mode {mode:04o}): run `chmod 600 {0}`",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is too long to be a secret.
    #[error("{} is longer than 64KiB and hardly a secret: check cluster.secret_file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The secret is too easily guessed.
    #[error("{place}: {source}")]
    TooShort {
        /// The key or the file it was read from.
        place: String,
        /// How short it is.
        source: SecretTooShort,
    },
}
