//! Which key an operation is about, as a number from 0.
//!
//! The skewed choices follow YCSB (Cooper et al., SoCC 2010), which follows Gray et al., "Quickly generating
//! billion-record synthetic databases" (SIGMOD 1994): ranks 0 and 1 have exactly their zipfian probability, the
//! others come from a continuous approximation. At the usual exponent it draws the third key 17 to 19 % too often,
//! the tenth 2 to 3 %, and the tail 2 to 4 % too seldom; 1.2 to 1.6 % of all draws go elsewhere than they should. It
//! is kept because the figures of others are made with it.

use std::str::FromStr;

use rand::Rng;
use rand::rngs::SmallRng;
use thiserror::Error;

use super::{Purpose, stream};

/// The exponent of YCSB's skewed choices.
pub const YCSB_THETA: f64 = 0.99;

/// YCSB draws the ranks of its scrambled choice from this many, whatever the number of keys.
const SCRAMBLED_RANKS: u64 = 10_000_000_000;

/// How often a scrambled key that is not inserted yet is drawn again.
const MAX_REDRAWS: u32 = 64;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyDistribution {
    /// Every key alike.
    Uniform,
    /// YCSB's `zipfian`: popular keys lie scattered over the key space. Ranks are drawn from ten billion and
    /// hashed onto the keys, so it is a little flatter than a zipfian over the keys: the most popular key gets
    /// about 3.8 % of all operations at the usual exponent, however many keys there are.
    Zipfian {
        /// The exponent, more than 0 and less than 1.
        theta: f64,
    },
    /// A zipfian over the keys in their order: key 0 is the most popular.
    Ranked {
        /// The exponent, more than 0 and less than 1.
        theta: f64,
    },
    /// A zipfian over the keys from the newest back.
    Latest {
        /// The exponent, more than 0 and less than 1.
        theta: f64,
    },
}

/// Text that names no distribution.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no key distribution; say uniform, zipfian, ranked or latest, the skewed ones optionally with an \
     exponent between 0 and 1, as in zipfian:0.9"
)]
pub struct UnknownDistribution(String);

impl FromStr for KeyDistribution {
    type Err = UnknownDistribution;

    /// Reads `uniform`, `zipfian`, `ranked`, `latest`, the latter three optionally with `:theta`.
    fn from_str(text: &str) -> Result<Self, UnknownDistribution> {
        let unknown = || UnknownDistribution(text.to_owned());
        let (name, theta) = match text.split_once(':') {
            None => (text, YCSB_THETA),
            Some(("uniform", _)) => return Err(unknown()),
            Some((name, theta)) => (name, theta.parse().map_err(|_| unknown())?),
        };
        if !(theta > 0.0 && theta < 1.0) {
            return Err(unknown());
        }
        match name {
            "uniform" => Ok(Self::Uniform),
            "zipfian" => Ok(Self::Zipfian { theta }),
            "ranked" => Ok(Self::Ranked { theta }),
            "latest" => Ok(Self::Latest { theta }),
            _ => Err(unknown()),
        }
    }
}

/// Draws keys for one thread.
#[derive(Clone, Debug)]
pub struct KeyChooser {
    rng: SmallRng,
    choice: Choice,
}

#[derive(Clone, Debug)]
enum Choice {
    Uniform,
    Scrambled { ranks: Zipfian, expected_keys: u64 },
    Ranked(Zipfian),
    Latest(Zipfian),
}

impl KeyChooser {
    /// A chooser for `thread` of a load with this seed.
    ///
    /// `expected_keys` is how many keys there will be in the end, with all inserts: [`KeyDistribution::Zipfian`]
    /// scatters over these, so that popular keys stay the same while the key space grows.
    ///
    /// # Panics
    /// If `expected_keys` is 0 or an exponent is not between 0 and 1.
    pub fn new(distribution: KeyDistribution, expected_keys: u64, seed: u64, thread: u32) -> Self {
        assert!(expected_keys > 0, "there must be keys to choose from");
        let choice = match distribution {
            KeyDistribution::Uniform => Choice::Uniform,
            KeyDistribution::Zipfian { theta } => {
                Choice::Scrambled { ranks: Zipfian::new(SCRAMBLED_RANKS, theta), expected_keys }
            }
            KeyDistribution::Ranked { theta } => Choice::Ranked(Zipfian::new(expected_keys, theta)),
            KeyDistribution::Latest { theta } => Choice::Latest(Zipfian::new(expected_keys, theta)),
        };
        Self { rng: stream(seed, thread, Purpose::Key), choice }
    }

    /// Draws one of the keys below `key_count`, those that exist now.
    ///
    /// # Panics
    /// If `key_count` is 0.
    pub fn choose(&mut self, key_count: u64) -> u64 {
        assert!(key_count > 0, "there must be keys to choose from");
        match &mut self.choice {
            Choice::Uniform => self.rng.random_range(0..key_count),
            Choice::Scrambled { ranks, expected_keys } => {
                let mut hash = 0;
                for _ in 0..MAX_REDRAWS {
                    hash = scramble(ranks.rank(self.rng.random()));
                    if hash % *expected_keys < key_count {
                        return hash % *expected_keys;
                    }
                }
                // So few of the expected keys exist that drawing again does not pay.
                hash % key_count
            }
            Choice::Ranked(ranks) => {
                ranks.resize(key_count);
                ranks.rank(self.rng.random())
            }
            Choice::Latest(ranks) => {
                ranks.resize(key_count);
                key_count - 1 - ranks.rank(self.rng.random())
            }
        }
    }
}

/// YCSB's `fnvhash64`: FNV-1a over the eight bytes, lowest first, made positive as a signed number.
fn scramble(rank: u64) -> u64 {
    let hash = rank.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.cast_signed().unsigned_abs()
}

/// Gray's generator of zipfian ranks, with a count that may change.
#[derive(Clone, Debug)]
struct Zipfian {
    count: u64,
    theta: f64,
    alpha: f64,
    eta: f64,
    zeta: f64,
    zeta_two: f64,
}

impl Zipfian {
    fn new(count: u64, theta: f64) -> Self {
        assert!(theta > 0.0 && theta < 1.0, "the exponent must be between 0 and 1, not {theta}");
        let alpha = 1.0 / (1.0 - theta);
        let mut ranks =
            Self { count, theta, alpha, eta: 0.0, zeta: zeta(count, theta), zeta_two: zeta(2, theta) };
        ranks.eta = ranks.eta();
        ranks
    }

    /// Growing by one costs one term of the sum.
    fn resize(&mut self, count: u64) {
        if count == self.count {
            return;
        }
        self.zeta = if count > self.count && count - self.count <= EXACT_TERMS {
            self.zeta + (self.count + 1..=count).map(|rank| term(rank, self.theta)).sum::<f64>()
        } else {
            zeta(count, self.theta)
        };
        self.count = count;
        self.eta = self.eta();
    }

    fn eta(&self) -> f64 {
        (1.0 - (2.0 / self.count as f64).powf(1.0 - self.theta)) / (1.0 - self.zeta_two / self.zeta)
    }

    /// The rank for `uniform` in [0, 1).
    fn rank(&self, uniform: f64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 || self.count == 1 {
            return 0;
        }
        if scaled < self.zeta_two || self.count == 2 {
            return 1;
        }
        let base = self.eta * uniform - self.eta + 1.0;
        // Rounding may reach the count itself.
        ((self.count as f64 * base.powf(self.alpha)) as u64).min(self.count - 1)
    }
}

/// How many terms of zeta are added up one by one.
const EXACT_TERMS: u64 = 10_000;

fn term(rank: u64, theta: f64) -> f64 {
    (rank as f64).powf(-theta)
}

/// The sum of `rank^-theta` for ranks 1 to `count`: the first terms exactly, the rest by Euler and Maclaurin's
/// formula, whose error at this point is far below that of the additions.
fn zeta(count: u64, theta: f64) -> f64 {
    let exact = count.min(EXACT_TERMS);
    let head: f64 = (1..=exact).rev().map(|rank| term(rank, theta)).sum();
    if exact == count {
        return head;
    }
    let (from, to) = (exact as f64, count as f64);
    let integral = (to.powf(1.0 - theta) - from.powf(1.0 - theta)) / (1.0 - theta);
    let ends = (to.powf(-theta) - from.powf(-theta)) / 2.0;
    let slopes = theta / 12.0 * (from.powf(-theta - 1.0) - to.powf(-theta - 1.0));
    head + integral + ends + slopes
}

#[cfg(test)]
mod tests {
    use super::super::chi_square;
    use super::*;

    const DRAWS: u64 = 400_000;

    fn count_keys(distribution: KeyDistribution, key_count: u64, seed: u64) -> Vec<u64> {
        let mut chooser = KeyChooser::new(distribution, key_count, seed, 0);
        let mut counts = vec![0; usize::try_from(key_count).unwrap()];
        for _ in 0..DRAWS {
            counts[usize::try_from(chooser.choose(key_count)).unwrap()] += 1;
        }
        counts
    }

    /// The probability of each rank under Gray's approximation, solved for the uniform variable.
    fn gray_probabilities(count: u64, theta: f64) -> Vec<f64> {
        let ranks = Zipfian::new(count, theta);
        let reach = |rank: u64| match rank {
            0 => 0.0,
            1 => 1.0 / ranks.zeta,
            _ => ((rank as f64 / count as f64).powf(1.0 - theta) - 1.0 + ranks.eta) / ranks.eta,
        };
        (0..count).map(|rank| reach(rank + 1) - reach(rank)).collect()
    }

    #[test]
    fn uniform_keys_are_uniform() {
        for seed in 0..5 {
            let observed = count_keys(KeyDistribution::Uniform, 1_000, seed);
            let (statistic, bound) = chi_square(&observed, &vec![DRAWS as f64 / 1_000.0; 1_000]);
            assert!(statistic < bound, "seed {seed}: {statistic} over {bound}");
        }
    }

    #[test]
    fn ranks_follow_the_generator_exactly() {
        for (seed, theta) in [(1, YCSB_THETA), (2, YCSB_THETA), (3, 0.5), (4, 0.8)] {
            let observed = count_keys(KeyDistribution::Ranked { theta }, 1_000, seed);
            let expected: Vec<f64> =
                gray_probabilities(1_000, theta).iter().map(|p| p * DRAWS as f64).collect();
            let (statistic, bound) = chi_square(&observed, &expected);
            assert!(statistic < bound, "seed {seed}: {statistic} over {bound}");
            let other: Vec<f64> =
                gray_probabilities(1_000, theta - 0.03).iter().map(|p| p * DRAWS as f64).collect();
            let (statistic, bound) = chi_square(&observed, &other);
            assert!(statistic > bound, "the test could not tell a neighbouring exponent");
        }
    }

    #[test]
    fn ranks_are_close_to_a_true_zipfian() {
        let count = 1_000;
        let truth: Vec<f64> =
            (1..=count).map(|rank| term(rank, YCSB_THETA) / zeta(count, YCSB_THETA)).collect();
        let gray = gray_probabilities(count, YCSB_THETA);
        assert!((gray.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((gray[0] - truth[0]).abs() < 1e-12);
        assert!((gray[1] - truth[1]).abs() < 1e-12);
        let mut shifted: f64 = 0.0;
        let mut worst: f64 = 0.0;
        for (g, t) in gray.iter().zip(&truth) {
            shifted += g - t;
            worst = worst.max(shifted.abs());
        }
        assert!(worst < 0.02, "the cumulative probability is off by {worst}");
    }

    #[test]
    fn zeta_agrees_with_plain_addition_and_with_the_constant_of_ycsb() {
        for count in [1, 2, 9_999, 10_000, 10_001, 300_000] {
            let plain: f64 = (1..=count).map(|rank| term(rank, YCSB_THETA)).sum();
            assert!((zeta(count, YCSB_THETA) - plain).abs() < 1e-9, "{count}");
        }
        assert!((zeta(SCRAMBLED_RANKS, YCSB_THETA) - 26.469_028_201_783_02).abs() < 1e-6);
    }

    #[test]
    fn growing_step_by_step_is_the_same_as_starting_large() {
        let mut grown = Zipfian::new(1, YCSB_THETA);
        for count in 2..=3_000 {
            grown.resize(count);
        }
        let fresh = Zipfian::new(3_000, YCSB_THETA);
        assert!((grown.zeta - fresh.zeta).abs() < 1e-9);
        assert!((grown.eta - fresh.eta).abs() < 1e-9);
        grown.resize(10);
        assert!((grown.zeta - zeta(10, YCSB_THETA)).abs() < 1e-12);
    }

    #[test]
    fn few_keys_are_no_special_case() {
        for count in 1..6 {
            for theta in [0.01, 0.5, YCSB_THETA] {
                let ranks = Zipfian::new(count, theta);
                for uniform in [0.0, 0.25, 0.5, 0.75, 1.0 - f64::EPSILON / 2.0] {
                    assert!(ranks.rank(uniform) < count, "{count} {theta} {uniform}");
                }
            }
        }
    }

    #[test]
    fn scrambled_keys_cover_the_key_space_and_keep_the_skew() {
        let mut counts = count_keys(KeyDistribution::Zipfian { theta: YCSB_THETA }, 1_000, 9);
        assert!(counts.iter().all(|&count| count > 0), "every key is drawn");
        let hottest = counts.iter().enumerate().max_by_key(|(_, count)| **count).unwrap().0;
        assert_eq!(hottest as u64, scramble(0) % 1_000);
        // Popular keys lie in both halves: no tenth of the space has more than a quarter of the draws.
        let tenths: Vec<u64> = counts.chunks(100).map(|tenth| tenth.iter().sum()).collect();
        assert!(tenths.iter().all(|&draws| draws > DRAWS / 20 && draws < DRAWS / 4), "{tenths:?}");
        counts.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
        let share = counts[0] as f64 / DRAWS as f64;
        assert!((0.036..0.042).contains(&share), "the hottest key has {share}");
    }

    #[test]
    fn the_scramble_is_the_one_of_ycsb() {
        // FNV-1a of eight zero bytes is 0xa8c7f832281a39c5, which is negative as a signed number.
        assert_eq!(scramble(0), 0xa8c7_f832_281a_39c5_u64.wrapping_neg());
    }

    #[test]
    fn scrambled_keys_exist_and_keep_their_popularity_while_keys_are_inserted() {
        let mut chooser = KeyChooser::new(KeyDistribution::Zipfian { theta: YCSB_THETA }, 1_000, 5, 0);
        for key_count in [1, 2, 10, 500, 999] {
            assert!((0..2_000).all(|_| chooser.choose(key_count) < key_count));
        }
        let hottest_of = |chooser: &mut KeyChooser, key_count: u64| {
            let mut counts = [0_u32; 1_000];
            (0..20_000).for_each(|_| counts[chooser.choose(key_count) as usize] += 1);
            counts.iter().enumerate().max_by_key(|(_, count)| **count).unwrap().0
        };
        assert_eq!(hottest_of(&mut chooser, 900), hottest_of(&mut chooser, 1_000));
    }

    #[test]
    fn latest_prefers_the_newest_also_after_growth() {
        let mut chooser = KeyChooser::new(KeyDistribution::Latest { theta: YCSB_THETA }, 100, 6, 0);
        for key_count in [100, 101, 5_000] {
            let mut counts = vec![0_u64; key_count as usize];
            (0..50_000).for_each(|_| counts[chooser.choose(key_count) as usize] += 1);
            let expected = 50_000.0 / zeta(key_count, YCSB_THETA);
            let newest = *counts.last().unwrap() as f64;
            assert!((newest - expected).abs() < 5.0 * expected.sqrt(), "{newest} of {expected}");
            let newest_tenth: u64 = counts[counts.len() - counts.len() / 10..].iter().sum();
            assert!(newest_tenth > 25_000, "the newest tenth has {newest_tenth} of 50000");
        }
    }

    #[test]
    fn the_same_seed_and_thread_give_the_same_keys_and_others_give_others() {
        let keys = |seed, thread| {
            let mut chooser = KeyChooser::new(KeyDistribution::Uniform, 1 << 40, seed, thread);
            [(); 8].map(|()| chooser.choose(1 << 40))
        };
        assert_eq!(keys(1, 2), keys(1, 2));
        assert_ne!(keys(1, 2), keys(1, 3));
        assert_ne!(keys(1, 2), keys(2, 2));
    }

    #[test]
    fn distributions_are_read_from_text() {
        assert_eq!("uniform".parse(), Ok(KeyDistribution::Uniform));
        assert_eq!("zipfian".parse(), Ok(KeyDistribution::Zipfian { theta: YCSB_THETA }));
        assert_eq!("latest:0.5".parse(), Ok(KeyDistribution::Latest { theta: 0.5 }));
        for text in
            ["", "zipf", "uniform:0.5", "zipfian:1", "zipfian:0", "zipfian:NaN", "zipfian:", "latest:-1"]
        {
            let refused = text.parse::<KeyDistribution>().unwrap_err();
            assert!(refused.to_string().starts_with(&format!("`{text}` is no key distribution")));
        }
    }
}
