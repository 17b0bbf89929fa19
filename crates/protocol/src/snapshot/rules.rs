//! FUSEE's rules 1 to 3, pure.

use farrow_layout::Word;

/// What the words that the backups hold after one round say to one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Rule 1: all of them are mine.
    AllMine,
    /// Rule 2: more than half are mine; the others must be changed.
    MajorityMine,
    /// Nobody has more than half and some are mine: rule 3 may apply if the primary is unchanged.
    Smallest {
        /// Whether mine is the smallest proposal.
        mine: bool,
    },
    /// Somebody else's round.
    Lost,
}

/// Evaluates the list of the paper: the content of each backup after my CAS.
pub(super) fn evaluate(mine: Word, list: &[Word]) -> Verdict {
    let own = list.iter().filter(|w| **w == mine).count();
    if own == list.len() {
        return Verdict::AllMine;
    }
    if own * 2 > list.len() {
        return Verdict::MajorityMine;
    }
    let majority = list.iter().any(|w| list.iter().filter(|o| *o == w).count() * 2 > list.len());
    if own == 0 || majority {
        return Verdict::Lost;
    }
    Verdict::Smallest { mine: list.iter().all(|w| mine.raw() <= w.raw()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(mine: u64, list: &[u64]) -> Verdict {
        let words: Vec<_> = list.iter().map(|w| Word::from_raw(*w)).collect();
        evaluate(Word::from_raw(mine), &words)
    }

    #[test]
    fn the_papers_table() {
        assert_eq!(verdict(5, &[]), Verdict::AllMine);
        assert_eq!(verdict(5, &[5]), Verdict::AllMine);
        assert_eq!(verdict(5, &[7]), Verdict::Lost);
        assert_eq!(verdict(5, &[5, 5, 7]), Verdict::MajorityMine);
        assert_eq!(verdict(7, &[5, 5, 7]), Verdict::Lost);
        assert_eq!(verdict(5, &[5, 7]), Verdict::Smallest { mine: true });
        assert_eq!(verdict(7, &[5, 7]), Verdict::Smallest { mine: false });
        assert_eq!(verdict(9, &[5, 7]), Verdict::Lost);
        assert_eq!(verdict(5, &[7, 7]), Verdict::Lost);
    }

    #[test]
    fn at_most_one_proposal_wins_any_list() {
        for list in 0..4u64.pow(4) {
            for len in 1..=4usize {
                let words: Vec<u64> = (0..len).map(|i| list / 4u64.pow(i as u32) % 4).collect();
                let winners = (0..4).filter(|mine| {
                    matches!(
                        verdict(*mine, &words),
                        Verdict::AllMine | Verdict::MajorityMine | Verdict::Smallest { mine: true }
                    )
                });
                assert!(winners.count() <= 1, "{words:?}");
            }
        }
    }
}
