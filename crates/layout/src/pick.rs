//! Which slot an insert takes. Two inserters of one key must meet.

use crate::{Slot, SlotIndex, Word};

/// A slot of a key's two combined buckets, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub index: SlotIndex,
    /// 0 or 1: which of the key's two combined buckets.
    pub bucket: usize,
    /// Whether it lies in the main bucket, not in the overflow.
    pub main: bool,
    /// What was read.
    pub slot: Slot,
}

/// The slot that an insert takes among `seen` (in the order in which the buckets were read), and the word it expects there.
///
/// A slot that was never used is taken first, in an order such that two inserters of one key that read at different
/// times choose the same slot as long as it is free: the emptier main bucket, in it the first free slot; then the
/// overflow buckets. That holds because such slots only ever fill: as long as the first free slot of a main bucket is
/// free, that bucket has not changed, and the other one can only have become less attractive. Counting the overflow
/// slots (as RACE's "emptier combined bucket" would) breaks it, since a neighbour fills those.
///
/// Only when no slot is left that was never used is an emptied one recycled, and only when it is not pending. Those
/// inserts can miss each other, so they are placed tentatively and confirmed (see the commit protocol).
pub fn choose_free_slot(seen: &[Candidate]) -> Option<(SlotIndex, Word)> {
    let unused = |main: bool, bucket: usize| {
        seen.iter().filter(move |c| c.main == main && c.bucket == bucket && c.slot.word() == Word::ZERO)
    };
    let (first, second) = (unused(true, 0).count(), unused(true, 1).count());
    let emptier = if second > first { 1 } else { 0 };
    unused(true, emptier)
        .chain(unused(true, 1 - emptier))
        .chain(unused(false, 0))
        .chain(unused(false, 1))
        .chain(seen.iter().filter(|c| c.slot.word().is_empty() && c.slot.word() != Word::ZERO))
        .next()
        .map(|c| (c.index, c.slot.word()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CombinedBucket, KeyHash, Pointer, SizeClass};
    use proptest::prelude::*;

    type Table = Vec<Word>;

    fn look(table: &Table, hash: KeyHash, groups: u64) -> Vec<Candidate> {
        let pair = CombinedBucket::candidates(hash, groups);
        pair.iter().enumerate().flat_map(|(b, c)| look_at(table, *c, b)).collect()
    }

    fn look_at(table: &Table, c: CombinedBucket, bucket: usize) -> Vec<Candidate> {
        c.slots(&[0; crate::COMBINED_LEN])
            .map(|(index, main, _)| {
                let word = table[index.0 as usize].raw();
                Candidate { index, bucket, main, slot: Slot { word, committed: word } }
            })
            .collect()
    }

    fn key(i: u64) -> KeyHash {
        KeyHash::of(&i.to_le_bytes())
    }

    fn fill(table: &mut Table, hash: KeyHash, groups: u64) {
        if let Some((at, Word::ZERO)) = choose_free_slot(&look(table, hash, groups)) {
            table[at.0 as usize] = Word::ZERO.naming(hash, SizeClass::for_len(64), Pointer::from_offset(0));
        }
    }

    proptest! {
        /// Two inserters of one key, whose four bucket reads and two CASes interleave with inserts of others in any way:
        /// never do both of them win.
        #[test]
        fn two_inserters_of_one_key_meet(prefill in 0u64..60, steps in proptest::collection::vec(0u64..8, 0..40), order in proptest::collection::vec(any::<bool>(), 6)) {
            const GROUPS: u64 = 3;
            let mut table = vec![Word::ZERO; (GROUPS * 3 * 7) as usize];
            for i in 0..prefill {
                fill(&mut table, key(i), GROUPS);
            }
            let mine = key(1_000_000);
            let pair = CombinedBucket::candidates(mine, GROUPS);
            let mut seen: [Vec<Candidate>; 2] = Default::default();
            let mut progress = [0; 2];
            let mut won = 0;
            let mut others = 1000;
            let mut steps = steps.into_iter();
            let mut order = order.into_iter().chain([true, true, true, false, false, false]);
            while progress != [3, 3] {
                for _ in 0..steps.next().unwrap_or(0) {
                    fill(&mut table, key(others), GROUPS);
                    others += 1;
                }
                let mut who = usize::from(order.next().unwrap_or(progress[0] == 3));
                if progress[who] == 3 {
                    who = 1 - who;
                }
                match progress[who] {
                    step @ (0 | 1) => seen[who].extend(look_at(&table, pair[step], step)),
                    _ => {
                        let found = seen[who].iter().any(|c| c.slot.word().pointer() == Pointer::MAX);
                        if let (false, Some((at, Word::ZERO))) = (found, choose_free_slot(&seen[who]))
                            && table[at.0 as usize] == Word::ZERO
                        {
                            table[at.0 as usize] = Word::ZERO.naming(mine, SizeClass::for_len(64), Pointer::MAX);
                            won += 1;
                        }
                    }
                }
                progress[who] += 1;
            }
            prop_assert!(won <= 1);
        }
    }

    #[test]
    fn a_never_used_slot_comes_before_a_recycled_one() {
        let mut table = vec![Word::from_raw(1 << 40); 3 * 3 * 7];
        let seen = look(&table, key(1), 3);
        let (at, word) = choose_free_slot(&seen).unwrap();
        assert_eq!(word, table[at.0 as usize]);
        let last = seen.last().unwrap().index;
        table[last.0 as usize] = Word::ZERO;
        assert_eq!(choose_free_slot(&look(&table, key(1), 3)), Some((last, Word::ZERO)));
    }
}
