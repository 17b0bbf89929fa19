//! Which key an operation is about.

/// Zipfian popularity: key `i` is asked for in proportion to `(i + 1)^-0.99`, as in YCSB. Keys need no scrambling, since
/// their hashes decide where they live.
#[derive(Clone, Debug)]
pub struct Popularity(Vec<u64>);

/// YCSB's exponent.
const EXPONENT: f64 = 0.99;
/// Weights are counted in units of this much of the first one's: whole numbers, so that the last bit of a machine's
/// `powf` decides nothing.
const UNIT: f64 = (1u64 << 40) as f64;

impl Popularity {
    /// Of `count` keys.
    pub fn zipfian(count: usize) -> Popularity {
        let weights = (1..=count).map(|rank| ((rank as f64).powf(-EXPONENT) * UNIT).round() as u64);
        let sums = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Popularity(sums.collect())
    }

    /// The key that the random bits `random` stand for.
    pub fn key(&self, random: u64) -> usize {
        let total = *self.0.last().expect("there are keys");
        let at = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        self.0.partition_point(|sum| *sum <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keys_get_their_share() {
        let popularity = Popularity::zipfian(100_000);
        let share = |key: usize| {
            let below = key.checked_sub(1).map_or(0, |k| popularity.0[k]);
            (popularity.0[key] - below) as f64 / popularity.0[99_999] as f64
        };
        // The inverse of the sum of k^-0.99 up to 100 000.
        assert!((share(0) - 0.078_257).abs() < 1e-6, "{}", share(0));
        assert!((share(9) / share(0) - 10f64.powf(-0.99)).abs() < 1e-6);
        assert_eq!((popularity.key(0), popularity.key(u64::MAX)), (0, 99_999));
        assert_eq!(popularity.key(u64::MAX / 2), 283, "half of all operations are about the keys before");
    }
}
