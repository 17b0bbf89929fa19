//! How long values are.

use std::str::FromStr;
use std::sync::Arc;

use rand::Rng;
use thiserror::Error;

/// The shortest value of the small zipfian sizes.
const ZIPFIAN_MIN: u32 = 10;
/// The longest value of the small zipfian sizes.
const ZIPFIAN_MAX: u32 = 1024;
/// Their exponent. With it the mean is 148 bytes, which fits the memory figures of Cocytus (FAST 2016).
const ZIPFIAN_EXPONENT: f64 = 0.99;

/// The distribution of value lengths, in bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueSizes(Sizes);

#[derive(Clone, Debug, PartialEq)]
enum Sizes {
    Fixed(u32),
    /// For each size from `ZIPFIAN_MIN` on: the probability of it or a smaller one.
    Zipfian(Arc<[f64]>),
    Listed(Arc<[u32]>),
}

/// Why there is no distribution of sizes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoSizes {
    /// The text names none.
    #[error(
        "`{0}` is no value size; say a number of bytes (64, 4KiB) or zipfian (10 B to 1 KiB, mean 148 B)"
    )]
    Unknown(String),
    /// There are no records to take sizes from.
    #[error("there are no records to take value sizes from; give a file with at least one good record")]
    NoRecords,
    /// A record's value has a length that no store takes.
    #[error("a value of {0} bytes is too long to be written")]
    TooLong(usize),
}

impl ValueSizes {
    /// Every value has this length.
    pub fn fixed(value_len: u32) -> Self {
        Self(Sizes::Fixed(value_len))
    }

    /// 10 B to 1 KiB, the shorter the likelier, zipfian with exponent 0.99: a mean of 148 B.
    pub fn zipfian_small() -> Self {
        let weights = (1..=ZIPFIAN_MAX - ZIPFIAN_MIN + 1).map(|rank| f64::from(rank).powf(-ZIPFIAN_EXPONENT));
        let total: f64 = weights.clone().sum();
        let cumulative = weights.scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        });
        Self(Sizes::Zipfian(cumulative.collect()))
    }

    /// The lengths of given values: each draw takes one of them, all alike.
    ///
    /// # Errors
    /// If there is none, or one is longer than 4 GiB.
    pub fn listed(value_lens: impl IntoIterator<Item = usize>) -> Result<Self, NoSizes> {
        let narrow = |value_len| u32::try_from(value_len).map_err(|_| NoSizes::TooLong(value_len));
        let list = value_lens.into_iter().map(narrow).collect::<Result<Arc<[u32]>, _>>()?;
        if list.is_empty() { Err(NoSizes::NoRecords) } else { Ok(Self(Sizes::Listed(list))) }
    }

    /// Draws a length.
    pub fn choose(&self, rng: &mut impl Rng) -> u32 {
        match &self.0 {
            Sizes::Fixed(value_len) => *value_len,
            Sizes::Zipfian(cumulative) => {
                let uniform: f64 = rng.random();
                let rank = cumulative.partition_point(|&reached| reached <= uniform);
                let rank = u32::try_from(rank).expect("there are 1015 sizes");
                // The last sum may round to less than one.
                (ZIPFIAN_MIN + rank).min(ZIPFIAN_MAX)
            }
            Sizes::Listed(list) => list[rng.random_range(0..list.len())],
        }
    }

    /// The longest length that can be drawn: how large a buffer must be.
    pub fn largest(&self) -> u32 {
        match &self.0 {
            Sizes::Fixed(value_len) => *value_len,
            Sizes::Zipfian(_) => ZIPFIAN_MAX,
            Sizes::Listed(list) => list.iter().copied().max().unwrap_or(0),
        }
    }

    /// The shortest length that can be drawn.
    pub fn smallest(&self) -> u32 {
        match &self.0 {
            Sizes::Fixed(value_len) => *value_len,
            Sizes::Zipfian(_) => ZIPFIAN_MIN,
            Sizes::Listed(list) => list.iter().copied().min().unwrap_or(0),
        }
    }

    /// Whether every value has one length.
    pub fn is_fixed(&self) -> bool {
        self.smallest() == self.largest()
    }

    /// How long the value is that a key is loaded with: the same for one seed, whoever loads it.
    pub fn loaded(&self, seed: u64, key_index: u64) -> u32 {
        match &self.0 {
            Sizes::Fixed(value_len) => *value_len,
            _ => self.choose(&mut super::stream_of_key(seed, key_index)),
        }
    }

    /// The mean length.
    pub fn mean(&self) -> f64 {
        match &self.0 {
            Sizes::Fixed(value_len) => f64::from(*value_len),
            Sizes::Zipfian(cumulative) => {
                let mut below = 0.0;
                (ZIPFIAN_MIN..=ZIPFIAN_MAX)
                    .zip(cumulative.iter())
                    .map(|(size, &reached)| {
                        let share = reached - below;
                        below = reached;
                        share * f64::from(size)
                    })
                    .sum()
            }
            Sizes::Listed(list) => {
                list.iter().map(|&value_len| f64::from(value_len)).sum::<f64>() / list.len() as f64
            }
        }
    }
}

impl FromStr for ValueSizes {
    type Err = NoSizes;

    /// Reads a number of bytes, with `KiB` or `MiB` if wanted, or `zipfian`.
    fn from_str(text: &str) -> Result<Self, NoSizes> {
        if text == "zipfian" {
            return Ok(Self::zipfian_small());
        }
        let (digits, unit) = match text {
            _ if text.ends_with("KiB") => (&text[..text.len() - 3], 1024),
            _ if text.ends_with("MiB") => (&text[..text.len() - 3], 1024 * 1024),
            _ => (text, 1),
        };
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse::<u32>().ok().filter(|_| all_digits);
        number
            .and_then(|number| number.checked_mul(unit))
            .map(Self::fixed)
            .ok_or_else(|| NoSizes::Unknown(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::super::chi_square;
    use super::*;

    #[test]
    fn small_zipfian_sizes_have_the_mean_of_the_published_figures() {
        let sizes = ValueSizes::zipfian_small();
        assert!((sizes.mean() - 148.0).abs() < 1.0, "the mean is {}", sizes.mean());
        let mut rng = SmallRng::seed_from_u64(1);
        let draws = 200_000;
        let sum: u64 = (0..draws).map(|_| u64::from(sizes.choose(&mut rng))).sum();
        let mean = sum as f64 / f64::from(draws);
        assert!((mean - sizes.mean()).abs() < 2.5, "drawn mean {mean}");
    }

    #[test]
    fn small_zipfian_sizes_follow_their_probabilities() {
        let sizes = ValueSizes::zipfian_small();
        let mut rng = SmallRng::seed_from_u64(2);
        let draws = 200_000;
        let mut observed = vec![0; 1015];
        for _ in 0..draws {
            observed[sizes.choose(&mut rng) as usize - 10] += 1;
        }
        let total: f64 = (1..=1015).map(|rank| f64::from(rank).powf(-0.99)).sum();
        let expected: Vec<f64> =
            (1..=1015).map(|rank| f64::from(rank).powf(-0.99) / total * f64::from(draws)).collect();
        let (statistic, bound) = chi_square(&observed, &expected);
        assert!(statistic < bound, "{statistic} over {bound}");
    }

    #[test]
    fn listed_sizes_are_those_of_the_records() {
        let sizes = ValueSizes::listed([3, 700, 3, 90]).unwrap();
        let mut rng = SmallRng::seed_from_u64(3);
        let mut observed = [0; 3];
        for _ in 0..40_000 {
            match sizes.choose(&mut rng) {
                3 => observed[0] += 1,
                90 => observed[1] += 1,
                700 => observed[2] += 1,
                other => panic!("{other} is the size of no record"),
            }
        }
        let (statistic, bound) = chi_square(&observed, &[20_000.0, 10_000.0, 10_000.0]);
        assert!(statistic < bound, "{observed:?}");
        assert_eq!((sizes.smallest(), sizes.largest(), sizes.mean()), (3, 700, 199.0));
        assert!(!sizes.is_fixed() && ValueSizes::fixed(7).is_fixed());
        assert_eq!(ValueSizes::listed([]), Err(NoSizes::NoRecords));
        assert_eq!(ValueSizes::listed([usize::MAX]), Err(NoSizes::TooLong(usize::MAX)));
    }

    #[test]
    fn a_key_is_loaded_with_the_same_length_by_whoever_loads_it() {
        let sizes = ValueSizes::zipfian_small();
        let lens = |seed| (0..2_000).map(|key| sizes.loaded(seed, key)).collect::<Vec<_>>();
        assert_eq!(lens(1), lens(1));
        assert_ne!(lens(1), lens(2));
        let mean = lens(1).iter().sum::<u32>() / 2_000;
        assert!((120..180).contains(&mean), "{mean}");
        assert_eq!(ValueSizes::fixed(64).loaded(1, 9), 64);
    }

    #[test]
    fn sizes_are_read_from_text() {
        for (text, value_len) in [("0", 0), ("64", 64), ("1KiB", 1024), ("3MiB", 3 << 20)] {
            assert_eq!(text.parse(), Ok(ValueSizes::fixed(value_len)));
        }
        assert_eq!("zipfian".parse(), Ok(ValueSizes::zipfian_small()));
        for text in ["", "KiB", "1K", "-1", "+1", "1 KiB", "4294967296", "4096MiB", "zipf"] {
            assert_eq!(text.parse::<ValueSizes>(), Err(NoSizes::Unknown(text.to_owned())));
        }
    }
}
