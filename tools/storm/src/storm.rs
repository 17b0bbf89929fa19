//! One client of the storm.

use crate::now_ns;
use farrow_client::{Error, LocalClient, PutRequest, Value, Version, When};
use farrow_testkit::history::{Answer, Journal, Kind, ValueId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// With an answer.
    pub answered: u64,
    /// Provably without effect, by error.
    pub failed: BTreeMap<&'static str, u64>,
    /// Perhaps with an effect.
    pub unknown: u64,
    /// CASes lost to others.
    pub conflicts: u64,
}

impl Storm {
    fn key(&self, index: u32) -> Vec<u8> {
        format!("storm-{index}").into_bytes()
    }

    fn value(&self, id: ValueId) -> Vec<u8> {
        let mut value = id.0.to_le_bytes().to_vec();
        // The rest of the value repeats the number, so that bytes of two values never mix unseen.
        value.resize_with(self.value_len.max(8), {
            let mut i = 0;
            move || {
                i += 1;
                id.0.to_le_bytes()[i % 8]
            }
        });
        value
    }

    fn read(&self, value: &Value) -> ValueId {
        let bytes = value.to_vec();
        let id = ValueId(u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")));
        assert_eq!(bytes, self.value(id), "the bytes of two values are mixed");
        id
    }
}

/// Runs one client's part of the storm and writes down every call before it is made, so that a killed client leaves an
/// honest record. `number` must be this client's alone.
///
/// # Errors
/// When the record cannot be written.
pub fn rage<W: io::Write>(client: &LocalClient, storm: &Storm, number: u32, record: W) -> io::Result<Tally> {
    let mut journal = Journal::new(number, record);
    let mut random =
        SmallRng::seed_from_u64(storm.seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(number)));
    let mut last_seen: BTreeMap<u32, (ValueId, Version)> = BTreeMap::new();
    let mut tally = Tally::default();
    for count in 0..storm.operations {
        let index = random.random_range(0..storm.keys);
        let key = storm.key(index);
        let fresh = ValueId(u64::from(number) << 40 | (count + 1));
        let seen = last_seen.get(&index).copied();
        let (kind, when) = match (random.random_range(0..16), seen) {
            (0..=5, _) => (Kind::Get, None),
            (6..=8, _) => (Kind::Put { value: fresh }, Some(When::Always)),
            (9, _) => (Kind::PutIfAbsent { value: fresh }, Some(When::Absent)),
            (10, _) => (Kind::PutIfPresent { value: fresh }, Some(When::Present)),
            (11 | 12, Some((read, version))) => {
                (Kind::PutIfVersion { read, value: fresh }, Some(When::Version(version)))
            }
            (13, Some((read, _))) => (Kind::DeleteIfVersion { read }, None),
            (14, _) => (Kind::Exists, None),
            (15, _) => (Kind::Delete, None),
            _ => (Kind::Put { value: fresh }, Some(When::Always)),
        };
        let pending = journal.invoke(&key, kind, now_ns())?;
        let answer: Result<Answer, Error> = client.block_on(async {
            if let (Some(when), Some(id)) = (when, kind.written()) {
                let value = storm.value(id);
                return match client.put_with(&PutRequest::new(&key, &value).when(when)).await {
                    Ok(version) => {
                        last_seen.insert(index, (id, version));
                        Ok(Answer::Applied)
                    }
                    Err(Error::Rejected(_)) => Ok(Answer::Refused),
                    Err(e) => Err(e),
                };
            }
            match kind {
                Kind::Get => {
                    let value = client.get(&key).await?;
                    let id = value.as_ref().map(|v| storm.read(v));
                    if let (Some(id), Some(value)) = (id, &value) {
                        last_seen.insert(index, (id, farrow_client::ValueInfo::of(value).version));
                    }
                    Ok(Answer::Value(id))
                }
                Kind::Exists => Ok(Answer::Present(client.exists(&key).await?.is_some())),
                Kind::Delete => Ok(Answer::Deleted(Some(client.delete(&key).await?))),
                Kind::DeleteIfVersion { .. } => {
                    let (_, version) = seen.expect("chosen only with a version");
                    match client.delete_version(&key, version).await {
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
                journal.complete(pending, answer, now_ns())?;
                tally.answered += 1;
            }
            // Left open in the record: it may take effect at any later time.
            Err(Error::Unknown { .. }) => tally.unknown += 1,
            Err(e) => {
                journal.fail(pending)?;
                *tally.failed.entry(e.label()).or_default() += 1;
            }
        }
    }
    tally.conflicts = client.stats().ops.values().map(|o| o.conflicts).sum();
    Ok(tally)
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
