//! What a slot's words say about the changes of a client that is gone, pure.

use super::OpenGrant;
use crate::mutant::{self, Mutant};
use farrow_layout::{BlockAddr, Plan, Slot, Word};

/// What is to be done about a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// Nothing of the lost client is left half done here.
    Nothing,
    /// The primary's word may not be on all replicas.
    Settle,
    /// The primary's word is the lost client's claim to a slot.
    Withdraw,
    /// This backup holds a word of the lost client that the primary never held and never will.
    TakeBack {
        /// The backup, counted from 0.
        backup: usize,
    },
    /// The words were read while somebody changed them.
    LookAgain,
}

/// Whether `word` names an entry in one of `grants`: their owner alone has made words that do.
pub(super) fn is_of(plan: &Plan, grants: &[OpenGrant], word: Word) -> bool {
    if word.is_empty() {
        return false;
    }
    let extent = plan.extent_of(BlockAddr(word.pointer().offset()));
    grants.iter().any(|grant| (grant.first..grant.first + u64::from(grant.count)).contains(&extent))
}

/// Judges a slot, read at the primary and at the backups at about the same time. `is_own`: whether a word is the lost client's.
///
/// A word of its own that follows the primary's was put at the backup alone: the primary can only have held it before the word
/// it holds now, and then that would be the later one. What it has replaced there is the primary's word: the client had read
/// that at the primary when it was on all replicas.
pub(super) fn judge(primary: Slot, backups: &[Word], is_own: impl Fn(Word) -> bool) -> Todo {
    let word = primary.word();
    if word.is_tentative() {
        return if is_own(word) { Todo::Withdraw } else { Todo::Nothing };
    }
    if primary.is_pending() {
        return Todo::Settle;
    }
    let is_stray = |held: &Word| mutant::is(Mutant::LiveStrayTakenBack) && held.is_visible() || is_own(*held);
    let mut strays = backups.iter().enumerate().filter(|(_, held)| **held != word && is_stray(held));
    match strays.next() {
        None => Todo::Nothing,
        Some((backup, held)) if held.version() == word.version().next() => Todo::TakeBack { backup },
        // All replicas hold the committed word or a later one. So these were not read at one time.
        Some(_) => Todo::LookAgain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::{Geometry, KeyHash, Pointer, SizeClass};

    fn naming(before: Word, unit: u64) -> Word {
        before.naming(KeyHash::of(b"k"), SizeClass::for_len(64), Pointer::from_offset(unit * 64))
    }

    fn settled(word: Word) -> Slot {
        Slot { word: word.raw(), committed: word.raw() }
    }

    /// Odd units are the lost client's.
    fn is_own(word: Word) -> bool {
        !word.is_empty() && (word.pointer().offset() / 64) % 2 == 1
    }

    #[test]
    fn a_word_of_the_lost_client_on_a_backup_alone_is_taken_back() {
        let now = naming(Word::ZERO, 2);
        let stray = naming(now, 3);
        assert_eq!(judge(settled(now), &[now, stray], is_own), Todo::TakeBack { backup: 1 });
        assert_eq!(
            judge(settled(Word::ZERO), &[naming(Word::ZERO, 1)], is_own),
            Todo::TakeBack { backup: 0 }
        );
    }

    #[test]
    fn others_strays_and_emptied_words_are_left_alone() {
        let now = naming(Word::ZERO, 1);
        assert_eq!(judge(settled(now), &[naming(now, 2), now.emptied()], is_own), Todo::Nothing);
    }

    #[test]
    fn what_is_on_all_replicas_stays() {
        let now = naming(Word::ZERO, 1);
        assert_eq!(judge(settled(now), &[now, now], is_own), Todo::Nothing);
    }

    #[test]
    fn a_pending_slot_is_settled_before_anything_is_taken_back() {
        let before = naming(Word::ZERO, 2);
        let now = naming(before, 4);
        let pending = Slot { word: now.raw(), committed: before.raw() };
        assert_eq!(judge(pending, &[naming(before, 3)], is_own), Todo::Settle);
    }

    #[test]
    fn a_backup_that_seems_to_be_behind_a_committed_word_was_read_at_another_time() {
        let before = naming(Word::ZERO, 1);
        let now = naming(before, 2);
        assert_eq!(judge(settled(now), &[before], is_own), Todo::LookAgain);
    }

    #[test]
    fn only_its_own_claims_are_withdrawn() {
        let own = naming(Word::ZERO.emptied(), 1).tentative();
        let others = naming(Word::ZERO.emptied(), 2).tentative();
        assert_eq!(judge(settled(own), &[Word::ZERO], is_own), Todo::Withdraw);
        assert_eq!(judge(settled(others), &[Word::ZERO], is_own), Todo::Nothing);
    }

    #[test]
    fn a_word_is_of_who_was_granted_the_place_of_its_entry() {
        let plan = Plan::new(Geometry::for_tests()).unwrap();
        let units = plan.geometry().extent_len / 64;
        let grants = [OpenGrant { first: 3, count: 2 }];
        let owned: Vec<u64> =
            (0..8).filter(|e| is_of(&plan, &grants, naming(Word::ZERO, e * units + units - 1))).collect();
        assert_eq!(owned, [3, 4]);
        assert!(!is_of(&plan, &grants, naming(Word::ZERO, 3 * units).emptied()));
    }
}
