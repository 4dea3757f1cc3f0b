//! Arithmetic on measurements.

use std::time::{Duration, Instant};

/// Returns the median; zero if there are no values.
pub(crate) fn median(values: &[Duration]) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    match sorted.len() {
        0 => Duration::ZERO,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => (sorted[even / 2 - 1] + sorted[even / 2]) / 2,
    }
}

/// Returns the ratio of two durations.
pub(crate) fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// Returns the rate per second.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Returns the rate per second between the `from`-th and the `to`-th of these moments.
pub(crate) fn rate(done: &[Instant], from: usize, to: usize) -> f64 {
    per_second((to - from) as u64, done[to - 1].duration_since(done[from - 1]))
}

/// Converts bytes to mebibytes.
#[expect(clippy::cast_precision_loss, reason = "no process has so much memory")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Converts a duration to milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
