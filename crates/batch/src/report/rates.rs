//! Pass rates of repeated tasks, with their uncertainty.

use super::tasks::TaskRow;
use std::collections::BTreeMap;

/// The two-sided 95 % quantile of the normal distribution.
const Z: f64 = 1.959_964;

/// A rate with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Interval {
    /// The observed rate, from 0 to 1.
    pub rate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Returns the rate of successes with its Wilson interval; `None` without trials.
#[must_use]
pub fn wilson_interval(successes: u64, trials: u64) -> Option<Interval> {
    if trials == 0 {
        return None;
    }
    let n = float(trials);
    let rate = float(successes) / float(trials);
    let denominator = 1.0 + Z * Z / n;
    let centre = (rate + Z * Z / (2.0 * n)) / denominator;
    let half = Z / denominator * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(Interval { rate, low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
}

/// The rates of a set of tasks.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    pub(crate) counted: u64,
    pub(crate) solved: u64,
    /// The number of tasks, each counted once with its repetitions.
    pub(crate) groups: u64,
    /// The greatest number of counted repetitions of a task.
    pub(crate) repetitions: u64,
    /// The mean of the share of solved repetitions.
    pub(crate) pass_at_1: Option<f64>,
    /// For each k from 2, the mean of the probability that k repetitions are all solved, and the number of tasks with
    /// at least k repetitions.
    pub(crate) pass_hat: Vec<(u64, f64, u64)>,
    /// The share of repeated tasks that were both solved and not solved.
    pub(crate) flip_rate: Option<f64>,
}

impl Rates {
    /// Computes the rates of tasks. Attempts that failed because of the infrastructure do not count.
    pub(crate) fn of<'t>(tasks: impl IntoIterator<Item = &'t TaskRow>) -> Self {
        let mut groups: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut rates = Self::default();
        for task in tasks {
            if let Some(solved) = task.last.is_solved() {
                let group = groups.entry(task.group()).or_default();
                group.0 += 1;
                group.1 += u64::from(solved);
                rates.counted += 1;
                rates.solved += u64::from(solved);
            }
        }
        rates.groups = groups.len() as u64;
        rates.repetitions = groups.values().map(|(n, _)| *n).max().unwrap_or_default();
        rates.pass_at_1 = mean(groups.values().map(|(n, c)| float(*c) / float(*n)));
        for k in 2..=rates.repetitions.min(10) {
            let enough = groups.values().filter(|(n, _)| *n >= k);
            let count = enough.clone().count() as u64;
            if let Some(rate) = mean(enough.map(|(n, c)| all_of(*n, *c, k))) {
                rates.pass_hat.push((k, rate, count));
            }
        }
        let repeated = groups.values().filter(|(n, _)| *n > 1);
        rates.flip_rate = mean(repeated.map(|(n, c)| if *c > 0 && c < n { 1.0 } else { 0.0 }));
        rates
    }
}

/// Returns the probability that `k` of `n` repetitions, of which `c` were solved, are all solved: C(c, k) / C(n, k).
fn all_of(n: u64, c: u64, k: u64) -> f64 {
    if c < k { 0.0 } else { (0..k).map(|i| float(c - i) / float(n - i)).product() }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / float(count))
}

/// Returns the probability of a split that is at least as uneven if both outcomes are equally likely: the exact two-sided sign
/// test.
pub(crate) fn sign_test(one: u64, other: u64) -> Option<f64> {
    let n = one + other;
    if n == 0 {
        return None;
    }
    let least = one.min(other);
    // In logarithms: 2^-n is 0 in floating point for large batches.
    let half = -float(n) * std::f64::consts::LN_2;
    let mut log_binomial = 0.0;
    let mut sum = 0.0;
    for i in 0..=least {
        if i > 0 {
            log_binomial += (float(n - i + 1) / float(i)).ln();
        }
        sum += (log_binomial + half).exp();
    }
    Some((2.0 * sum).min(1.0))
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds are far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 0.0005
    }

    #[test]
    fn wilson_interval_has_known_values() {
        // The values of R's `prop.test(..., correct = FALSE)`.
        let half = wilson_interval(5, 10).unwrap();
        assert!(is_near(half.low, 0.2366) && is_near(half.high, 0.7634), "{half:?}");
        let all = wilson_interval(10, 10).unwrap();
        assert!(is_near(all.low, 0.7225) && is_near(all.high, 1.0), "{all:?}");
        assert_eq!(wilson_interval(0, 0), None);
        assert!(wilson_interval(0, 3).unwrap().low.abs() < 1e-9);
    }

    #[test]
    fn pass_all_k_samples_without_replacement() {
        assert!(is_near(all_of(4, 2, 2), 1.0 / 6.0));
        assert!(is_near(all_of(3, 3, 3), 1.0));
        assert!(is_near(all_of(3, 1, 2), 0.0));
    }

    #[test]
    fn sign_test_has_known_values() {
        assert!(is_near(sign_test(5, 5).unwrap(), 1.0));
        assert!(is_near(sign_test(1, 9).unwrap(), 0.0215));
        assert!(is_near(sign_test(0, 6).unwrap(), 0.0313));
        assert!(sign_test(0, 5000).unwrap() < 1e-9);
        assert_eq!(sign_test(0, 0), None);
    }
}
