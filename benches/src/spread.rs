use std::fmt;
use std::time::Instant;

use crate::Effort;

/// The distribution of times over different operations
#[derive(Clone, Debug)]
pub struct Spread {
    /// Nanoseconds per operation, in ascending order
    samples: Vec<f64>,
}

impl Spread {
    /// Times each of `count` samples, which consists of `operations` operations
    ///
    /// All samples are measured repeatedly, and the best time of each counts: noise only makes a
    /// sample slower.
    #[must_use]
    #[allow(clippy::as_conversions)] // far below 2^53
    pub fn of(effort: Effort, count: usize, operations: usize, sample: impl Fn(usize)) -> Self {
        let passes = if effort == Effort::Full { 100 } else { 1 };
        let mut samples = vec![f64::INFINITY; count];
        for _ in 0..passes {
            for (n, best) in samples.iter_mut().enumerate() {
                let start = Instant::now();
                sample(n);
                let elapsed = start.elapsed().as_nanos() as f64;
                *best = best.min(elapsed / operations as f64);
            }
        }
        samples.sort_unstable_by(f64::total_cmp);
        Self { samples }
    }

    fn percent(&self, percent: usize) -> f64 {
        self.samples.get(self.samples.len() * percent / 100).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, p90, p99] = [50, 90, 99].map(|percent| self.percent(percent));
        write!(f, "median {median:>5.0} ns, p90 {p90:>5.0} ns, p99 {p99:>5.0} ns")
    }
}
