//! Records on their way to a thread that puts them, in batches.

use crate::exit::{Exit, told};
use anyhow::Result;
use farrow_bench::record::BytesRecord;
use std::collections::HashSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Records that are put together. No key occurs twice: PUTs of one batch have no order.
pub type Batch = Vec<BytesRecord>;

/// Records in a batch.
pub const BATCH_RECORDS: usize = 64;
/// Bytes in a batch, beyond which it is sent although it has fewer records: they are in flight all at once.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait at a time.
const WAITING: usize = 4;

/// One thread's feed.
pub struct Feed {
    batch: Batch,
    keys: HashSet<Vec<u8>>,
    bytes: usize,
    sender: SyncSender<Batch>,
}

impl Feed {
    /// A feed and the end where its batches come out.
    pub fn new() -> (Feed, Receiver<Batch>) {
        let (sender, receiver) = sync_channel(WAITING);
        (Feed { batch: Vec::new(), keys: HashSet::new(), bytes: 0, sender }, receiver)
    }

    /// Takes a record. Waits when the thread is far behind.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn push(&mut self, record: BytesRecord) -> Result<()> {
        if self.keys.contains(&record.key) {
            self.send()?;
        }
        self.bytes += record.key.len() + record.value.len();
        self.keys.insert(record.key.clone());
        self.batch.push(record);
        if self.batch.len() == BATCH_RECORDS || self.bytes >= BATCH_BYTES {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        self.keys.clear();
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.sender.send(batch).map_err(|_| told(Exit::Other, "a thread of the load has ended early"))
    }

    /// Sends what is left.
    ///
    /// # Errors
    /// As [`Feed::push`].
    pub fn finish(mut self) -> Result<()> {
        if self.batch.is_empty() { Ok(()) } else { self.send() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value_len: usize) -> BytesRecord {
        BytesRecord { line: 1, key: key.into(), value: vec![0; value_len], flags: 0 }
    }

    #[test]
    fn a_key_never_meets_itself_in_a_batch() {
        let (mut feed, batches) = Feed::new();
        for key in ["a", "b", "a", "a"] {
            feed.push(record(key, 1)).unwrap();
        }
        feed.finish().unwrap();
        let sizes: Vec<_> = batches.iter().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }

    #[test]
    fn batches_are_bounded_by_number_and_by_bytes() {
        let (mut feed, batches) = Feed::new();
        for i in 0..BATCH_RECORDS + 1 {
            feed.push(record(&i.to_string(), 1)).unwrap();
        }
        feed.push(record("large", BATCH_BYTES)).unwrap();
        feed.push(record("next", 0)).unwrap();
        feed.finish().unwrap();
        let sizes: Vec<_> = batches.iter().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [BATCH_RECORDS, 2, 1]);
    }
}
