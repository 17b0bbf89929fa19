//! What the bench knows to be stored: the length of each key's value.

use crate::workload::key::KEY_LEN;
use std::sync::atomic::{AtomicU32, Ordering};

/// Lengths of the values of the keys that were loaded, shared by all threads.
///
/// Exact with one thread; two threads that write one key at the same time may leave the other's length.
pub(crate) struct Stored {
    /// One more than the length; 0 is a key that is not there.
    lens: Vec<AtomicU32>,
    /// Whether a run can change anything: else it costs nothing to keep.
    is_tracked: bool,
}

/// Lengths of the values of the keys that one thread inserted.
#[derive(Default)]
pub(crate) struct Inserted {
    /// By `(key - loaded) / threads`.
    lens: Vec<u32>,
}

impl Stored {
    pub(crate) fn new(keys: u64, is_tracked: bool) -> Stored {
        Stored { lens: (0..keys).map(|_| AtomicU32::new(0)).collect(), is_tracked }
    }

    pub(crate) fn loaded_keys(&self) -> u64 {
        self.lens.len() as u64
    }

    /// A key was loaded.
    pub(crate) fn load(&self, key_index: u64, len: u32) {
        self.lens[key_index as usize].store(len + 1, Ordering::Relaxed);
    }

    /// A key was put (`Some`: this long) or deleted within the run.
    pub(crate) fn note(&self, inserted: &mut Inserted, key_index: u64, threads: u64, len: Option<u32>) {
        let code = len.map_or(0, |len| len + 1);
        match key_index.checked_sub(self.loaded_keys()) {
            None if self.is_tracked => self.lens[key_index as usize].store(code, Ordering::Relaxed),
            None => {}
            Some(own) => {
                let place = (own / threads) as usize;
                if inserted.lens.len() <= place {
                    inserted.lens.resize(place + 1, 0);
                }
                inserted.lens[place] = code;
            }
        }
    }

    /// Bytes of keys and values, without those that were inserted.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.lens.iter().map(|len| live(len.load(Ordering::Relaxed))).sum()
    }
}

impl Inserted {
    pub(crate) fn live_bytes(&self) -> u64 {
        self.lens.iter().map(|len| live(*len)).sum()
    }
}

fn live(code: u32) -> u64 {
    code.checked_sub(1).map_or(0, |len| KEY_LEN as u64 + u64::from(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_counted_once() {
        let stored = Stored::new(3, true);
        stored.load(0, 64);
        stored.load(1, 0);
        let mut own = Inserted::default();
        assert_eq!(stored.live_bytes(), 80 + 16);
        stored.note(&mut own, 0, 2, Some(10));
        stored.note(&mut own, 1, 2, None);
        // The third insert of the second of two threads.
        stored.note(&mut own, 3 + 2 * 2 + 1, 2, Some(4));
        assert_eq!((stored.live_bytes(), own.live_bytes()), (26, 20));
    }

    #[test]
    fn a_run_that_changes_no_length_costs_nothing_to_follow() {
        let stored = Stored::new(1, false);
        stored.load(0, 64);
        stored.note(&mut Inserted::default(), 0, 1, Some(64));
        assert_eq!(stored.live_bytes(), 80);
    }
}
