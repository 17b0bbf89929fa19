//! Decisions of `colocated`, pure.

use crate::mutant::{self, Mutant};
use farrow_layout::Word;

/// What a backup's word means to somebody who wants it to hold `target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backup {
    /// It holds the word, or a later one: leave it.
    Fine,
    /// It holds an older word, or one of the same version that lost: bring it up.
    Behind,
}

/// Judges a backup's word. Versions compare modulo 256; within the quarantine words lie closer than that.
pub(crate) fn judge(backup: Word, target: Word) -> Backup {
    let is_newer = backup.version().is_newer_than(target.version()) && !mutant::is(Mutant::BlindRepair);
    if backup == target || is_newer { Backup::Fine } else { Backup::Behind }
}

/// Whether a backup that answered `old` to the CAS `expected` → `to` still has to be brought up.
pub(crate) fn after_cas(old: Word, expected: Word, to: Word) -> Backup {
    if old == expected { Backup::Fine } else { judge(old, to) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::{KeyHash, Pointer, SizeClass};

    fn at(version: u8, offset: u64) -> Word {
        let mut word = Word::ZERO;
        for _ in 0..version {
            word = word.naming(KeyHash::of(b"k"), SizeClass::for_len(64), Pointer::from_offset(offset));
        }
        word
    }

    #[test]
    fn a_backup_is_left_alone_when_it_holds_the_word_or_a_later_one() {
        assert_eq!(judge(at(3, 0), at(3, 0)), Backup::Fine);
        assert_eq!(judge(at(4, 64), at(3, 0)), Backup::Fine);
        assert_eq!(judge(at(2, 0), at(3, 0)), Backup::Behind);
    }

    #[test]
    fn a_word_of_the_same_version_has_lost() {
        assert_eq!(judge(at(3, 64), at(3, 0)), Backup::Behind);
    }

    #[test]
    fn a_cas_that_swapped_needs_nothing() {
        assert_eq!(after_cas(at(2, 0), at(2, 0), at(3, 0)), Backup::Fine);
        assert_eq!(after_cas(at(1, 0), at(2, 0), at(3, 0)), Backup::Behind);
        assert_eq!(after_cas(at(3, 0), at(2, 0), at(3, 0)), Backup::Fine);
    }
}
