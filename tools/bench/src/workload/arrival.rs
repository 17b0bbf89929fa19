//! When operations should start, whether or not earlier ones have ended.
//!
//! A closed loop waits for a slow store and then reports that it was asked little: coordinated omission. An open
//! loop has a schedule. Latency is counted from the *intended* start, so the time an operation waited because
//! others were slow is part of it.

use rand::Rng;
use rand::rngs::SmallRng;
use thiserror::Error;

use super::{Purpose, stream};

const NS_PER_SECOND: f64 = 1e9;

/// A rate at which nothing can be scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("a rate of {0} operations a second cannot be scheduled; give one above 0 and at most 1e9")]
pub struct BadRate(f64);

/// Intended start times of one thread in nanoseconds from the start of the load: endless and never falling.
///
/// Threads that share a load get `rate / threads` each: independent Poisson schedules add up to one.
#[derive(Clone, Debug)]
pub struct Arrivals {
    mean_gap_ns: f64,
    process: Process,
}

#[derive(Clone, Debug)]
enum Process {
    Even { started: u64 },
    Poisson { last_ns: f64, rng: SmallRng },
}

impl Arrivals {
    /// Arrivals that are independent of each other: a Poisson process.
    ///
    /// # Errors
    /// If the rate is not in (0, 1e9] operations a second.
    pub fn poisson(operations_per_second: f64, seed: u64, thread: u32) -> Result<Self, BadRate> {
        let rng = stream(seed, thread, Purpose::Arrival);
        Self::new(operations_per_second, Process::Poisson { last_ns: 0.0, rng })
    }

    /// Arrivals at even distances; the first one after one distance.
    ///
    /// # Errors
    /// If the rate is not in (0, 1e9] operations a second.
    pub fn even(operations_per_second: f64) -> Result<Self, BadRate> {
        Self::new(operations_per_second, Process::Even { started: 0 })
    }

    fn new(operations_per_second: f64, process: Process) -> Result<Self, BadRate> {
        if !(operations_per_second > 0.0 && operations_per_second <= NS_PER_SECOND) {
            return Err(BadRate(operations_per_second));
        }
        Ok(Self { mean_gap_ns: NS_PER_SECOND / operations_per_second, process })
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    /// Never `None`.
    fn next(&mut self) -> Option<u64> {
        let intended_ns = match &mut self.process {
            // A product: a sum of gaps would gather their rounding into a drift.
            Process::Even { started } => {
                *started += 1;
                *started as f64 * self.mean_gap_ns
            }
            Process::Poisson { last_ns, rng } => {
                // 1 - u is in (0, 1], so the logarithm is finite.
                *last_ns += -(1.0 - rng.random::<f64>()).ln() * self.mean_gap_ns;
                *last_ns
            }
        };
        Some(intended_ns as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chi_square;
    use super::*;

    #[test]
    fn gaps_of_a_poisson_schedule_are_exponential() {
        let count = 100_000;
        let rate = 50_000.0;
        let times: Vec<u64> = Arrivals::poisson(rate, 1, 0).unwrap().take(count).collect();
        assert!(times.is_sorted());
        // Twenty cells that an exponential gap falls into alike.
        let mut observed = [0; 20];
        for pair in times.windows(2) {
            let gap = (pair[1] - pair[0]) as f64 * rate / 1e9;
            let cell = ((1.0 - (-gap).exp()) * 20.0) as usize;
            observed[cell.min(19)] += 1;
        }
        let (statistic, bound) = chi_square(&observed, &[(count - 1) as f64 / 20.0; 20]);
        assert!(statistic < bound, "{statistic} over {bound}: {observed:?}");
    }

    #[test]
    fn counts_in_windows_vary_as_much_as_their_mean() {
        let times = Arrivals::poisson(10_000.0, 2, 0).unwrap().take_while(|&time| time < 100_000_000_000);
        let mut windows = vec![0.0_f64; 10_000];
        times.for_each(|time| windows[(time / 10_000_000) as usize] += 1.0);
        let mean = windows.iter().sum::<f64>() / 10_000.0;
        let variance = windows.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!((mean - 100.0).abs() < 0.5, "mean {mean}");
        assert!((variance / mean - 1.0).abs() < 0.06, "variance {variance}");
    }

    #[test]
    fn even_arrivals_do_not_drift() {
        let mut arrivals = Arrivals::even(3.0).unwrap();
        assert_eq!(arrivals.next(), Some(333_333_333));
        let last = arrivals.take(2_999_999).last().unwrap();
        assert!(last.abs_diff(1_000_000_000_000_000) <= 1, "{last}");
    }

    #[test]
    fn threads_have_schedules_of_their_own_which_repeat() {
        let times =
            |seed, thread| Arrivals::poisson(1e6, seed, thread).unwrap().take(100).collect::<Vec<_>>();
        assert_eq!(times(1, 0), times(1, 0));
        assert_ne!(times(1, 0), times(1, 1));
        assert_ne!(times(1, 0), times(2, 0));
    }

    #[test]
    fn rates_that_cannot_be_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1.1e9] {
            assert!(Arrivals::poisson(rate, 1, 0).is_err(), "{rate}");
            assert!(Arrivals::even(rate).is_err(), "{rate}");
        }
    }
}
