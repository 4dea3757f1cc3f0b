//! Settings of the scheduler, and delays.

use std::str::FromStr;
use std::time::Duration;

/// The fraction of the budget that each task is estimated to need until one has ended.
pub(super) const FIRST_ESTIMATE: f64 = 0.05;

/// The settings of the scheduler.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The maximum number of parallel tasks.
    pub jobs: usize,
    /// The maximum number of attempts at a task in one run of the batch.
    pub max_attempts: u32,
    /// The delay before the second attempt; it doubles with each further attempt.
    pub retry_delay: Duration,
    /// The longest delay.
    pub max_retry_delay: Duration,
    /// The time over which the starts of the first tasks are spread.
    pub start_spread: Duration,
    /// Stops the batch after failures.
    pub fail_fast: Option<FailFast>,
    /// The limit on the cost of all tasks, in USD.
    pub max_cost: Option<f64>,
    /// The limit on the tokens of all tasks.
    pub max_tokens: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            jobs: 4,
            max_attempts: 3,
            retry_delay: Duration::from_secs(5),
            max_retry_delay: Duration::from_mins(5),
            start_spread: Duration::from_millis(300),
            fail_fast: None,
            max_cost: None,
            max_tokens: None,
        }
    }
}

/// The failures after which a batch stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a number or a part")]
pub enum FailFast {
    /// This number of tasks.
    Count(u64),
    /// This percentage of all tasks.
    Percent(u8),
}

impl FromStr for FailFast {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let limit = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(Self::Percent),
            None => text.parse().ok().filter(|count| *count > 0).map(Self::Count),
        };
        limit.ok_or_else(|| "write a number of tasks such as 3, or a percentage such as 10%".to_owned())
    }
}

/// Returns the delay before the next attempt at a task: exponential, with jitter that depends on the task.
pub(super) fn retry_delay(settings: &Settings, task: u32, used: u32) -> Duration {
    let factor = 2_u32.saturating_pow(used.saturating_sub(1).min(16));
    let delay = settings.retry_delay.saturating_mul(factor).min(settings.max_retry_delay);
    delay.mul_f64(0.5 + fraction(task, used)).min(settings.max_retry_delay)
}

/// Returns a pseudo-random number from 0 to 1, the same for the same task and attempt.
pub(super) fn fraction(task: u32, attempt: u32) -> f64 {
    // The finalizer of SplitMix64.
    let mut bits = (u64::from(task) << 32 | u64::from(attempt)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let high = u32::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or_default();
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}
