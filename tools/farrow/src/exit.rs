//! What an error means to a script: one number a kind, and one message for people.

use farrow_client::{ConnectError, DialError, Error};
use farrow_config::{ConfigError, SecretError};
use farrow_node::StartError;
use std::io;
use std::process::ExitCode;

/// The end of a command other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The answer is no: a key is absent, or a condition did not hold.
    No = 1,
    /// The command line, the configuration or an argument is wrong; nothing was done.
    Usage = 2,
    /// The cluster, or a part of it that is needed, cannot be reached.
    Unavailable = 3,
    /// A write may or may not have taken effect.
    Unknown = 4,
    /// Stored bytes are wrong.
    Corrupt = 5,
    /// The cluster has no room.
    Full = 6,
    /// A file of records has a bad line.
    BadInput = 7,
    /// Anything else: the system refused something.
    Other = 8,
    /// A simulated run broke a rule of the protocols.
    Violation = 9,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// For `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the key is absent, or the condition did not hold
  2  wrong command line, configuration, key or value; nothing was done
  3  the cluster, or a node that is needed, cannot be reached
  4  outcome unknown: the write may have taken effect; read the key to find out
  5  stored bytes are corrupt
  6  the cluster is full
  7  a file of records has a bad line
  8  anything else (a file cannot be read, the system refused something)
  9  a simulated run broke a rule: `farrow sim` found a mistake";

/// A message that brings its exit code along.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Told {
    exit: Exit,
    message: String,
}

/// An error with a code and a message for people.
pub fn told(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Told { exit, message: message.into() }.into()
}

/// Prints an error and says how the process ends. A reader of our output that has gone is no error.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("farrow: {}", message(error));
    code(error).into()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// The error and its causes, without what a message repeats of its cause.
pub fn message(error: &anyhow::Error) -> String {
    let mut all = String::new();
    for cause in error.chain() {
        let said = cause.to_string();
        if all.is_empty() {
            all = said;
        } else if !all.contains(&said) {
            all = format!("{all}: {said}");
        }
    }
    all
}

/// The first cause that has a meaning to scripts decides.
pub fn code(error: &anyhow::Error) -> Exit {
    error.chain().find_map(meaning).unwrap_or(Exit::Other)
}

fn meaning(error: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(told) = error.downcast_ref::<Told>() {
        return Some(told.exit);
    }
    if let Some(error) = error.downcast_ref::<Error>() {
        return Some(of_operation(error));
    }
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        return Some(match error {
            ConnectError::NoNodes => Exit::Usage,
            ConnectError::Superblock { .. } => Exit::Corrupt,
            ConnectError::Local(_) => Exit::Other,
            ConnectError::Dial(error) => of_dial(error),
            _ => Exit::Unavailable,
        });
    }
    if let Some(error) = error.downcast_ref::<DialError>() {
        return Some(of_dial(error));
    }
    if error.is::<ConfigError>() || error.is::<SecretError>() {
        return Some(Exit::Usage);
    }
    if let Some(error) = error.downcast_ref::<StartError>() {
        return Some(match error {
            StartError::Config(_) | StartError::NotListed { .. } | StartError::Map(_) => Exit::Usage,
            _ => Exit::Other,
        });
    }
    None
}

/// What an operation's error means.
pub fn of_operation(error: &Error) -> Exit {
    match error {
        Error::Rejected(_) => Exit::No,
        Error::BadKey { .. } | Error::TooLarge { .. } => Exit::Usage,
        Error::Unavailable { .. }
        | Error::UnderReplicated { .. }
        | Error::TimedOut { .. }
        | Error::Closed => Exit::Unavailable,
        Error::Unknown { .. } => Exit::Unknown,
        Error::Corrupt { .. } => Exit::Corrupt,
        Error::Full { .. } => Exit::Full,
        _ => Exit::Other,
    }
}

fn of_dial(error: &DialError) -> Exit {
    match error {
        DialError::Address { .. } => Exit::Usage,
        _ => Exit::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn every_kind_of_error_has_its_code() {
        let table = [
            (Error::Rejected(farrow_client::Rejected::Absent), Exit::No),
            (Error::TooLarge { len: 2, max: 1 }, Exit::Usage),
            (Error::Unavailable { why: "gone".into() }, Exit::Unavailable),
            (Error::UnderReplicated { copies: 1, wanted: 2 }, Exit::Unavailable),
            (Error::Unknown { why: "gone".into() }, Exit::Unknown),
            (Error::Corrupt { why: "torn".into() }, Exit::Corrupt),
            (Error::Full { why: "full".into() }, Exit::Full),
        ];
        for (error, exit) in table {
            assert_eq!(code(&anyhow::Error::from(error.clone()).context("while reading")), exit, "{error}");
        }
        assert_eq!(code(&told(Exit::BadInput, "line 3")), Exit::BadInput);
        assert_eq!(code(&anyhow::anyhow!("something")), Exit::Other);
        assert_eq!(code(&ConnectError::NoNodes.into()), Exit::Usage);
    }

    #[test]
    fn a_message_does_not_say_things_twice() {
        let source = io::Error::other("refused");
        let error = DialError::Connect { address: "a:1".into(), source };
        let said = message(&anyhow::Error::from(error));
        assert_eq!(said.matches("refused").count(), 1, "{said}");
        let error = Err::<(), _>(io::Error::other("no such file")).context("cannot open x").unwrap_err();
        assert_eq!(message(&error), "cannot open x: no such file");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot print");
        assert!(is_broken_pipe(&error));
    }
}
