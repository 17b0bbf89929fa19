//! How long nobody got an answer.

/// The longest time within `from..to` in which nothing was completed, followed to its end where it ends later. `completed`
/// is sorted; after its last entry nothing is known.
pub fn longest_gap(completed: &[u64], from: u64, to: u64) -> u64 {
    let first = completed.partition_point(|&t| t <= from);
    let mut longest = 0;
    let mut last = from;
    for &at in &completed[first..] {
        longest = longest.max(at - last);
        last = at;
        if at >= to {
            return longest;
        }
    }
    longest.max(to.saturating_sub(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_from_the_fault_on() {
        assert_eq!(longest_gap(&[0, 10, 20, 90, 100], 25, 95), 65);
    }

    #[test]
    fn a_gap_is_followed_to_its_end() {
        assert_eq!(longest_gap(&[0, 10, 20, 90], 5, 30), 70);
        assert_eq!(longest_gap(&[0, 10], 5, 30), 20, "nothing is known after the last");
    }

    #[test]
    fn nothing_at_all_is_a_gap_too() {
        assert_eq!(longest_gap(&[], 5, 30), 25);
    }
}
