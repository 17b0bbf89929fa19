//! One client of the storm.

use crate::now_ns;
use farrow_client::{Error, LocalClient, PutRequest, Value, Version, When};
use farrow_testkit::history::{Answer, Journal, Kind, ValueId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

/// What the clients of a storm do.
#[derive(Clone, Debug)]
pub struct Storm {
    /// How many keys they fight over.
    pub keys: u32,
    /// Operations of each client.
    pub operations: u64,
    /// Where their choices come from; each client adds its number.
    pub seed: u64,
    /// Bytes of each value, at least 8.
    pub value_len: usize,
}

/// How a client's operations ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// With an answer.
    pub answered: u64,
    /// Provably without effect, by error.
    pub failed: BTreeMap<String, u64>,
    /// What the first of those said.
    pub example: Option<String>,
    /// Perhaps with an effect.
    pub unknown: u64,
    /// CASes lost to others.
    pub conflicts: u64,
}

impl Storm {
    pub(crate) fn random(&self, number: u32) -> SmallRng {
        SmallRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(number)))
    }

    fn key(&self, index: u32) -> Vec<u8> {
        format!("storm-{index}").into_bytes()
    }

    pub(crate) fn value(&self, id: ValueId) -> Vec<u8> {
        filler(self.value_len, id.0)
    }

    pub(crate) fn read(&self, value: &Value) -> ValueId {
        let bytes = value.to_vec();
        let id = ValueId(u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")));
        assert_eq!(bytes, self.value(id), "the bytes of two values are mixed");
        id
    }
}

/// A value of `len` bytes, at least 8. All of it repeats `number`, so that bytes of two values never mix unseen.
pub(crate) fn filler(len: usize, number: u64) -> Vec<u8> {
    let bytes = number.to_le_bytes();
    (0..len.max(8)).map(|i| bytes[i % 8]).collect()
}

/// Runs one client's part of the storm and writes down every call before it is made, so that a killed client leaves an
/// honest record. `number` must be this client's alone.
///
/// # Errors
/// When the record cannot be written.
pub fn rage<W: io::Write>(client: &LocalClient, storm: &Storm, number: u32, record: W) -> io::Result<Tally> {
    let mut hand = Hand::new(client, storm, number, record);
    let mut random = storm.random(number);
    for _ in 0..storm.operations {
        let index = random.random_range(0..storm.keys);
        let key = storm.key(index);
        let deed = match random.random_range(0..16) {
            0..=5 => Deed::Get,
            6..=8 => Deed::Put,
            9 => Deed::PutIfAbsent,
            10 => Deed::PutIfPresent,
            11 | 12 => Deed::PutIfVersion,
            13 => Deed::DeleteIfVersion,
            14 => Deed::Exists,
            _ => Deed::Delete,
        };
        hand.perform(&key, deed)?;
    }
    Ok(hand.done())
}

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Get,
    Exists,
    Put,
    PutIfAbsent,
    PutIfPresent,
    /// Of the version that this client has seen last; a PUT if it has seen none.
    PutIfVersion,
    Delete,
    /// Of the version that this client has seen last; a PUT if it has seen none.
    DeleteIfVersion,
}

/// A client that writes down what it does.
pub(crate) struct Hand<'a, W> {
    client: &'a LocalClient,
    storm: &'a Storm,
    number: u32,
    journal: Journal<W>,
    count: u64,
    last_seen: BTreeMap<Vec<u8>, (ValueId, Version)>,
    tally: Tally,
}

impl<'a, W: io::Write> Hand<'a, W> {
    pub(crate) fn new(client: &'a LocalClient, storm: &'a Storm, number: u32, record: W) -> Self {
        let (count, last_seen, tally) = (0, BTreeMap::new(), Tally::default());
        Hand { client, storm, number, journal: Journal::new(number, record), count, last_seen, tally }
    }

    /// Makes one call, and records it.
    pub(crate) fn perform(&mut self, key: &[u8], deed: Deed) -> io::Result<()> {
        let storm = self.storm;
        self.count += 1;
        let fresh = ValueId(u64::from(self.number) << 40 | self.count);
        let seen = self.last_seen.get(key).copied();
        let (kind, when) = match (deed, seen) {
            (Deed::Get, _) => (Kind::Get, None),
            (Deed::PutIfAbsent, _) => (Kind::PutIfAbsent { value: fresh }, Some(When::Absent)),
            (Deed::PutIfPresent, _) => (Kind::PutIfPresent { value: fresh }, Some(When::Present)),
            (Deed::PutIfVersion, Some((read, version))) => {
                (Kind::PutIfVersion { read, value: fresh }, Some(When::Version(version)))
            }
            (Deed::DeleteIfVersion, Some((read, _))) => (Kind::DeleteIfVersion { read }, None),
            (Deed::Exists, _) => (Kind::Exists, None),
            (Deed::Delete, _) => (Kind::Delete, None),
            _ => (Kind::Put { value: fresh }, Some(When::Always)),
        };
        let pending = self.journal.invoke(key, kind, now_ns())?;
        let (client, last_seen) = (self.client, &mut self.last_seen);
        let answer: Result<Answer, Error> = client.block_on(async {
            if let (Some(when), Some(id)) = (when, kind.written()) {
                let value = storm.value(id);
                return match client.put_with(&PutRequest::new(key, &value).when(when)).await {
                    Ok(version) => {
                        last_seen.insert(key.to_vec(), (id, version));
                        Ok(Answer::Applied)
                    }
                    Err(Error::Rejected(_)) => Ok(Answer::Refused),
                    Err(e) => Err(e),
                };
            }
            match kind {
                Kind::Get => {
                    let value = client.get(key).await?;
                    let id = value.as_ref().map(|v| storm.read(v));
                    if let (Some(id), Some(value)) = (id, &value) {
                        let version = farrow_client::ValueInfo::of(value).version;
                        last_seen.insert(key.to_vec(), (id, version));
                    }
                    Ok(Answer::Value(id))
                }
                Kind::Exists => Ok(Answer::Present(client.exists(key).await?.is_some())),
                Kind::Delete => Ok(Answer::Deleted(Some(client.delete(key).await?))),
                Kind::DeleteIfVersion { .. } => {
                    let (_, version) = seen.expect("chosen only with a version");
                    match client.delete_version(key, version).await {
                        Ok(()) => Ok(Answer::Applied),
                        Err(Error::Rejected(_)) => Ok(Answer::Refused),
                        Err(e) => Err(e),
                    }
                }
                other => unreachable!("{other:?} writes"),
            }
        });
        match answer {
            Ok(answer) => {
                self.journal.complete(pending, answer, now_ns())?;
                self.tally.answered += 1;
            }
            // Left open in the record: it may take effect at any later time.
            Err(Error::Unknown { .. }) => self.tally.unknown += 1,
            Err(e) => {
                self.journal.fail(pending)?;
                *self.tally.failed.entry(e.label().to_owned()).or_default() += 1;
                self.tally.example.get_or_insert_with(|| e.to_string());
            }
        }
        Ok(())
    }

    /// Forgets what was seen of keys that are of no more use.
    pub(crate) fn forget(&mut self) {
        self.last_seen.clear();
    }

    pub(crate) fn done(mut self) -> Tally {
        self.tally.conflicts = self.client.stats().ops.values().map(|o| o.conflicts).sum();
        self.tally
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut failed = String::new();
        for (label, n) in &self.failed {
            write!(failed, ", {n} {label}")?;
        }
        write!(
            f,
            "{} answered, {} unknown{failed}, {} conflicts",
            self.answered, self.unknown, self.conflicts
        )
    }
}
