//! Did you mean?

/// Below this likeness (Jaro and Winkler's, 0 to 1) a suggestion confuses more than it helps.
const LIKE_ENOUGH: f64 = 0.82;

/// The known name that is most like an unknown one, if any is like it.
pub(crate) fn closest<'a, T: AsRef<str> + ?Sized>(
    name: &str,
    known: impl IntoIterator<Item = &'a T>,
) -> Option<&'a T> {
    let mut best = None;
    let mut best_likeness = LIKE_ENOUGH;
    for candidate in known {
        let likeness = strsim::jaro_winkler(name, candidate.as_ref());
        if likeness > best_likeness {
            (best, best_likeness) = (Some(candidate), likeness);
        }
    }
    best
}

/// `, did you mean ...?`, or nothing.
pub(crate) fn hint(name: &str, known: &[&str]) -> String {
    closest(name, known.iter().copied()).map_or_else(String::new, |known| format!(", did you mean {known}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_what_was_meant_and_strangers_find_nothing() {
        let known = ["block_size", "extent_size", "secret", "secret_file"];
        assert_eq!(closest("blocksize", known), Some("block_size"));
        assert_eq!(closest("extend_size", known), Some("extent_size"));
        assert_eq!(closest("secretfile", known), Some("secret_file"));
        assert_eq!(closest("colour", known), None);
        assert_eq!(hint("colour", &known), "");
        assert_eq!(hint("sekret", &known), ", did you mean secret?");
    }
}
