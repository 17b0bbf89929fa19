//! Histories as JSON lines, so that several processes record and one merges and judges.
//!
//! A line is an operation with a sequence number of its client. A later line with the same client and sequence
//! number replaces an earlier one. That is how a process that may be killed keeps its recording honest: it
//! writes the operation as unknown before it sends anything, and again when it knows more.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Answer, History, Kind, Operation, Outcome};

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The number of the operation among those of its client.
    pub sequence: u64,
    /// What is known of it at the time of writing.
    #[serde(flatten)]
    pub operation: Operation,
}

/// Why a recording could not be read.
#[derive(Debug, Error)]
pub enum LineError {
    /// The file could not be read.
    #[error("line {line} of the recording could not be read: {source}")]
    Read {
        /// Counted from 1.
        line: u64,
        /// The cause.
        source: io::Error,
    },
    /// The line is no operation.
    #[error("line {line} of the recording is no operation: {source}; only the last line may be torn")]
    Parse {
        /// Counted from 1.
        line: u64,
        /// The cause.
        source: serde_json::Error,
    },
    /// A line says something else about what the operation was than an earlier one.
    #[error(
        "line {line} of the recording has another operation under client {client}, sequence {sequence} than an \
         earlier line; give every recording client a number of its own"
    )]
    Contradiction {
        /// Counted from 1.
        line: u64,
        /// The client.
        client: u32,
        /// Its sequence number.
        sequence: u64,
    },
}

/// Writes a history that is in memory, numbering the operations of each client as they come.
///
/// # Errors
/// Those of `out`.
pub fn write_lines(history: &History, mut out: impl Write) -> io::Result<()> {
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    for operation in history.operations() {
        let sequence = next.entry(operation.client).or_default();
        write_line(&mut out, &Line { sequence: *sequence, operation: operation.clone() })?;
        *sequence += 1;
    }
    out.flush()
}

/// Reads what [`write_lines`] or a [`Journal`] wrote.
///
/// A last line without its newline is what a killed process leaves: it is taken if it is whole and dropped if it
/// is torn. Dropping is safe: a torn first line of an operation means that nothing was sent yet, a torn second one
/// leaves the operation unknown.
///
/// # Errors
/// At the first line that cannot be read or is no operation, or contradicts an earlier one.
pub fn read_lines(mut input: impl BufRead) -> Result<History, LineError> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut places: BTreeMap<(u32, u64), usize> = BTreeMap::new();
    let mut text = Vec::new();
    for line in 1_u64.. {
        text.clear();
        let read = input.read_until(b'\n', &mut text).map_err(|source| LineError::Read { line, source })?;
        if read == 0 {
            break;
        }
        let torn = text.last() != Some(&b'\n');
        let Line { sequence, operation } = match serde_json::from_slice::<Line>(&text) {
            Ok(parsed) => parsed,
            Err(_) if torn => break,
            Err(source) => return Err(LineError::Parse { line, source }),
        };
        let client = operation.client;
        let Some(&place) = places.get(&(client, sequence)) else {
            places.insert((client, sequence), operations.len());
            operations.push(operation);
            continue;
        };
        let earlier = &mut operations[place];
        let same_call = earlier.key == operation.key
            && earlier.kind == operation.kind
            && earlier.invoked_ns == operation.invoked_ns;
        // An outcome that was told is final; a second one means that two clients share a number.
        if !same_call || earlier.outcome != Outcome::Unknown {
            return Err(LineError::Contradiction { line, client, sequence });
        }
        earlier.outcome = operation.outcome;
    }
    Ok(History::new(operations))
}

/// Records one client's operations straight to a file, so that a killed process leaves an honest recording.
///
/// Each line is one `write`: give it a plain `File`, not a buffer, so that the line is out of the process before
/// the operation begins.
#[derive(Debug)]
pub struct Journal<W> {
    client: u32,
    next_sequence: u64,
    out: W,
}

/// An operation whose invocation is on file.
#[derive(Debug)]
#[must_use = "an operation whose outcome is never told is recorded as unknown"]
pub struct Pending(Line);

impl<W: Write> Journal<W> {
    /// A journal for the client of this number, which must be unique among all recordings that will be merged.
    pub fn new(client: u32, out: W) -> Self {
        Self { client, next_sequence: 0, out }
    }

    /// Writes that an operation begins. Send nothing before this has returned.
    ///
    /// # Errors
    /// Those of the file; the operation must not be started then.
    pub fn invoke(&mut self, key: &[u8], kind: Kind, now_ns: u64) -> io::Result<Pending> {
        let (client, key) = (self.client, key.to_vec());
        let operation = Operation { client, key, kind, invoked_ns: now_ns, outcome: Outcome::Unknown };
        let line = Line { sequence: self.next_sequence, operation };
        self.next_sequence += 1;
        write_line(&mut self.out, &line)?;
        Ok(Pending(line))
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// Those of the file; the operation stays unknown then.
    ///
    /// # Panics
    /// If the answer is none to the question, or the clock went back: the test is wrong.
    pub fn complete(&mut self, pending: Pending, answer: Answer, now_ns: u64) -> io::Result<()> {
        let Pending(mut line) = pending;
        let operation = &mut line.operation;
        assert!(operation.kind.admits(answer), "`{}` cannot be answered by {answer:?}", operation.kind);
        assert!(now_ns >= operation.invoked_ns, "the clock went back during `{}`", operation.kind);
        operation.outcome = Outcome::Ok { returned_ns: now_ns, answer };
        write_line(&mut self.out, &line)
    }

    /// Writes that the operation certainly had no effect. An operation in doubt is simply not mentioned again.
    ///
    /// # Errors
    /// Those of the file; the operation stays unknown then.
    pub fn fail(&mut self, pending: Pending) -> io::Result<()> {
        let Pending(mut line) = pending;
        line.operation.outcome = Outcome::Failed;
        write_line(&mut self.out, &line)
    }

    /// Ends the journal and gives the file back.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// One line in one `write`, so that lines of processes that append to one file do not mix.
fn write_line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::super::ValueId;
    use super::*;

    fn sample() -> History {
        let operation = |client, kind, outcome| Operation {
            client,
            key: b"k\xff\\".to_vec(),
            kind,
            invoked_ns: u64::MAX - 1,
            outcome,
        };
        let ok = |answer| Outcome::Ok { returned_ns: u64::MAX, answer };
        let (read, value) = (ValueId(u64::MAX), ValueId(7));
        History::new(vec![
            operation(1, Kind::Get, ok(Answer::Value(Some(read)))),
            operation(1, Kind::Get, ok(Answer::Value(None))),
            operation(2, Kind::Exists, ok(Answer::Present(false))),
            operation(2, Kind::Put { value }, ok(Answer::Applied)),
            operation(1, Kind::PutIfAbsent { value: ValueId(8) }, ok(Answer::Refused)),
            operation(1, Kind::PutIfPresent { value: ValueId(9) }, Outcome::Failed),
            operation(1, Kind::PutIfVersion { read, value: ValueId(10) }, Outcome::Unknown),
            operation(3, Kind::Delete, ok(Answer::Deleted(Some(true)))),
            operation(3, Kind::Delete, ok(Answer::Deleted(None))),
            operation(3, Kind::DeleteIfVersion { read }, ok(Answer::Applied)),
        ])
    }

    #[test]
    fn a_history_survives_the_file() {
        let mut file = Vec::new();
        write_lines(&sample(), &mut file).unwrap();
        assert_eq!(read_lines(file.as_slice()).unwrap(), sample());
    }

    #[test]
    fn a_line_reads_like_this() {
        let mut file = Vec::new();
        let mut history = sample();
        history.operations.truncate(1);
        write_lines(&history, &mut file).unwrap();
        assert_eq!(
            String::from_utf8(file).unwrap(),
            "{\"sequence\":0,\"client\":1,\"key\":\"k\\\\xff\\\\\\\\\",\"op\":\"get\",\
             \"invoked_ns\":18446744073709551614,\"outcome\":{\"ok\":{\"returned_ns\":18446744073709551615,\
             \"answer\":{\"value\":18446744073709551615}}}}\n"
        );
    }

    /// A journal with a completed put, a failed delete and a get that was in flight.
    fn journal() -> Vec<u8> {
        let mut journal = Journal::new(5, Vec::new());
        let put = journal.invoke(b"a", Kind::Put { value: ValueId(1) }, 10).unwrap();
        let delete = journal.invoke(b"b", Kind::Delete, 11).unwrap();
        journal.complete(put, Answer::Applied, 12).unwrap();
        journal.fail(delete).unwrap();
        let _in_flight = journal.invoke(b"a", Kind::Delete, 13).unwrap();
        journal.into_inner()
    }

    #[test]
    fn a_journal_tells_what_was_in_flight() {
        let history = read_lines(journal().as_slice()).unwrap();
        let outcomes: Vec<Outcome> = history.operations().iter().map(|o| o.outcome).collect();
        let applied = Outcome::Ok { returned_ns: 12, answer: Answer::Applied };
        assert_eq!(outcomes, [applied, Outcome::Failed, Outcome::Unknown]);
    }

    #[test]
    fn a_journal_cut_anywhere_never_claims_more_than_it_knew() {
        let whole = journal();
        for length in 0..whole.len() {
            let history = read_lines(&whole[..length]).unwrap();
            let begun = whole[..length].iter().filter(|&&byte| byte == b'\n').count();
            assert!(history.operations().len() <= 3);
            if begun >= 2 {
                assert!(history.operations().len() >= 2, "an invocation on file was lost at {length}");
            }
            if begun < 2 {
                assert!(history.operations().iter().all(|o| o.outcome == Outcome::Unknown));
            }
        }
    }

    #[test]
    fn a_bad_line_in_the_middle_is_an_error_with_its_number() {
        let mut file = journal();
        file.extend_from_slice(b"{\"sequence\":9}\n");
        let Err(LineError::Parse { line, .. }) = read_lines(file.as_slice()) else { panic!("accepted") };
        assert_eq!(line, 6);
    }

    #[test]
    fn two_clients_under_one_number_are_noticed() {
        let mut file = journal();
        file.extend(journal());
        let Err(LineError::Contradiction { line, client, sequence }) = read_lines(file.as_slice()) else {
            panic!("accepted");
        };
        assert_eq!((line, client, sequence), (6, 5, 0));
    }
}
