//! What a slot's past says of a change that is in doubt, pure.

use super::InDoubt;
use farrow_layout::{Pointer, Version, Word};

/// One step of a slot's past, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// The slot held this word.
    Word(Word),
    /// The slot held a word of this version that named the entry here. That is all an emptied word keeps of it.
    Named(Version, Pointer),
}

/// What one step says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The change happened.
    Applied,
    /// The word that it was to replace was replaced by another: it never happened, and never will.
    NotApplied,
    /// Neither: look at what was there before, in the entry's note of what it replaced.
    Before(Pointer),
    /// Neither, and what was there before is known without a look.
    At(Past),
    /// Neither, and what was there before is not recorded.
    Unknown,
}

/// Looks at one step, from the latest back.
///
/// Words are compared whole, never by their versions alone: those wrap, and 256 changes take a hot key milliseconds. A
/// word names its entry's place, and a place is not used again within the quarantine.
pub(super) fn look(doubt: &InDoubt, past: Past) -> Step {
    match past {
        Past::Word(word) if word == doubt.to => Step::Applied,
        Past::Word(word) if word == doubt.expected => Step::NotApplied,
        // A slot that was never used has no past.
        Past::Word(Word::ZERO) => Step::Unknown,
        Past::Word(word) if word.is_empty() => {
            Step::At(Past::Named(Version(word.version().0.wrapping_sub(1)), word.pointer()))
        }
        Past::Word(word) => Step::Before(word.pointer()),
        Past::Named(version, pointer) => {
            let is = |word: Word| !word.is_empty() && (word.version(), word.pointer()) == (version, pointer);
            if is(doubt.to) {
                Step::Applied
            } else if is(doubt.expected) {
                Step::NotApplied
            } else {
                Step::Before(pointer)
            }
        }
    }
}

/// What an entry's note of what it replaced makes of the step before `past`, which names that entry.
pub(super) fn before(past: Past, replaced: Word) -> Option<Past> {
    let version = match past {
        Past::Word(word) => word.version(),
        Past::Named(version, _) => version,
    };
    // An insert into a recycled slot does not note what was there; nor does a note that is not of this change help.
    (replaced.version().next() == version).then_some(Past::Word(replaced))
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::{KeyHash, SizeClass, SlotAddr, SlotIndex};

    fn naming(before: Word, unit: u64) -> Word {
        before.naming(KeyHash::of(b"k"), SizeClass::for_len(64), Pointer::from_offset(unit * 64))
    }

    fn doubt(expected: Word, to: Word) -> InDoubt {
        let slot = SlotAddr { partition: 0, index: SlotIndex(3) };
        let expected_at_backups = expected;
        InDoubt { slot, expected, expected_at_backups, to, read_within: false, last_writer_wins: false }
    }

    /// Follows a slot's past, given as the words it held, newest first; entries note what they replaced.
    fn verdict(doubt: &InDoubt, held: &[Word]) -> Step {
        let mut past = Past::Word(held[0]);
        let mut notes = held.iter().copied();
        loop {
            match look(doubt, past) {
                Step::Before(pointer) => {
                    let mut of_entry = notes.by_ref().skip_while(|w| w.is_empty() || w.pointer() != pointer);
                    of_entry.next();
                    let replaced = notes.clone().next().unwrap_or(Word::ZERO);
                    let Some(earlier) = before(past, replaced) else { return Step::Unknown };
                    past = earlier;
                }
                Step::At(earlier) => past = earlier,
                end => return end,
            }
        }
    }

    #[test]
    fn a_change_is_found_however_much_came_after_it() {
        let e = naming(Word::ZERO, 1);
        let x = naming(e, 2);
        let y = naming(x, 3);
        let gone = y.emptied();
        let doubt = doubt(e, x);
        assert_eq!(verdict(&doubt, &[x, e]), Step::Applied);
        assert_eq!(verdict(&doubt, &[y, x, e]), Step::Applied);
        assert_eq!(verdict(&doubt, &[gone, y, x, e]), Step::Applied);
    }

    #[test]
    fn a_change_that_another_took_the_place_of_never_happened() {
        let e = naming(Word::ZERO, 1);
        let (x, y) = (naming(e, 2), naming(e, 3));
        let z = naming(y, 4);
        let doubt = doubt(e, x);
        assert_eq!(verdict(&doubt, &[e]), Step::NotApplied);
        assert_eq!(verdict(&doubt, &[y, e]), Step::NotApplied);
        assert_eq!(verdict(&doubt, &[z, y, e]), Step::NotApplied);
        assert_eq!(verdict(&doubt, &[e.emptied(), e]), Step::NotApplied);
    }

    #[test]
    fn a_delete_is_its_own_word() {
        let e = naming(Word::ZERO, 1);
        let gone = e.emptied();
        assert_eq!(verdict(&doubt(e, gone), &[gone, e]), Step::Applied);
        assert_eq!(verdict(&doubt(e, gone), &[naming(e, 2), e]), Step::NotApplied);
    }

    #[test]
    fn an_insert_into_a_recycled_slot_hides_what_was_there() {
        let e = naming(Word::ZERO, 1);
        let gone = e.emptied();
        let placed = naming(gone, 2).tentative().confirmed();
        // Its entry notes nothing, so the next step back is not one of this slot's.
        assert_eq!(before(Past::Word(placed), Word::ZERO), None);
        assert_eq!(look(&doubt(e, naming(e, 3)), Past::Word(placed)), Step::Before(placed.pointer()));
    }

    #[test]
    fn equal_versions_of_other_rounds_are_not_taken_for_the_change() {
        let e = naming(Word::ZERO, 1);
        let x = naming(e, 2);
        let mut later = x;
        for unit in 3..259 {
            later = naming(later, unit);
        }
        assert_eq!(later.version(), x.version());
        assert_eq!(look(&doubt(e, x), Past::Word(later)), Step::Before(later.pointer()));
    }
}
