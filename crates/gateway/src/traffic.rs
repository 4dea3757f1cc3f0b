//! Statistics of the traffic through the gateway.

use std::time::Duration;

use serde::Serialize;

/// Statistics of the traffic of a route, a lease or a budget.
///
/// A snapshot. The counters only increase, except [`running`](Self::running).
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Traffic {
    /// The number of requests that were forwarded to the upstream.
    pub requests: u64,
    /// The number of forwarded requests that have not ended yet.
    pub running: u64,
    /// The number of rejected requests: unknown route, unknown session, reached limit.
    pub refused: u64,
    /// The number of forwarded requests without a complete answer because of the upstream: a failed connection, a
    /// redirect, a stall, an aborted answer. An answer with an error status is complete.
    pub failed: u64,
    /// The number of a model's answers with unknown token counts: they were not reported, or the client left before
    /// the end.
    pub unreported: u64,
    /// The tokens that the upstream reported.
    pub tokens: Tokens,
    /// The cost of the tokens in USD; `None` until a request was sent to an upstream with prices.
    pub cost_usd: Option<f64>,
    /// The size of the bodies that were sent to the upstream in bytes.
    pub bytes_sent: u64,
    /// The size of the bodies that were received in bytes.
    pub bytes_received: u64,
    /// The time until the upstream's answers began.
    pub first_byte: FirstByte,
}

/// Token counts as reported by the upstream, normalised across protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Tokens {
    /// The number of all input tokens, including reads and writes of the provider's cache.
    pub input: u64,
    /// The number of all output tokens, including reasoning.
    pub output: u64,
    /// The part of the output that was reasoning.
    pub reasoning: u64,
    /// The part of the input that came from the provider's cache.
    pub cache_read: u64,
    /// The part of the input that was written to the provider's cache.
    pub cache_write: u64,
}

/// The time from a request's end to the first byte of its answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct FirstByte {
    /// The number of answers that have begun.
    pub answers: u64,
    /// The last time in milliseconds.
    pub last_ms: f64,
    /// The longest time in milliseconds.
    pub longest_ms: f64,
    /// The sum of the times in milliseconds; divided by `answers` it is their mean.
    pub sum_ms: f64,
}

/// The prices of a million tokens in USD.
///
/// Cached input is counted at the full input price, so that a cost limit is reached rather too early with providers
/// that sell it cheaper.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in field by field")]
pub struct Prices {
    /// The price of input.
    pub input: f64,
    /// The price of output.
    pub output: f64,
}

impl Tokens {
    /// Returns the sum of input and output.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Returns the maximum of each field, because the reports of one answer are cumulative.
    pub(crate) fn max(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }

    fn zip(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            input: with(self.input, other.input),
            output: with(self.output, other.output),
            reasoning: with(self.reasoning, other.reasoning),
            cache_read: with(self.cache_read, other.cache_read),
            cache_write: with(self.cache_write, other.cache_write),
        }
    }
}

impl FirstByte {
    pub(crate) fn add(&mut self, time: Duration) {
        let ms = time.as_secs_f64() * 1000.0;
        self.answers += 1;
        self.last_ms = ms;
        self.longest_ms = self.longest_ms.max(ms);
        self.sum_ms += ms;
    }
}

impl Prices {
    /// Returns the cost of these tokens in USD.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "2^53 tokens are more than anyone can pay")]
    pub fn cost(&self, tokens: Tokens) -> f64 {
        (tokens.input as f64 * self.input + tokens.output as f64 * self.output) / 1e6
    }

    pub(crate) fn are_valid(&self) -> bool {
        [self.input, self.output].iter().all(|price| price.is_finite() && *price >= 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_tokens_times_prices() {
        let tokens = Tokens { input: 2_000_000, output: 500_000, cache_read: 1_000_000, ..Tokens::default() };
        let cost = Prices { input: 3.0, output: 10.0 }.cost(tokens);
        assert!((cost - 11.0).abs() < 1e-9, "{cost}");
        assert_eq!(tokens.total(), 2_500_000);
    }

    #[test]
    fn invalid_prices_are_rejected() {
        for price in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(!Prices { input: price, output: 1.0 }.are_valid());
            assert!(!Prices { input: 1.0, output: price }.are_valid());
        }
        assert!(Prices::default().are_valid());
    }

    #[test]
    fn absurd_token_counts_saturate() {
        let all = Tokens { input: u64::MAX, output: u64::MAX, ..Tokens::default() };
        assert_eq!(all.plus(all), all);
        assert_eq!(all.total(), u64::MAX);
        assert_eq!(Tokens::default().minus(all), Tokens::default());
    }

    #[test]
    fn first_byte_times_are_summed() {
        let mut times = FirstByte::default();
        times.add(Duration::from_millis(30));
        times.add(Duration::from_millis(10));
        assert_eq!(times.answers, 2);
        assert!((times.last_ms - 10.0).abs() < 1e-9 && (times.longest_ms - 30.0).abs() < 1e-9);
        assert!((times.sum_ms - 40.0).abs() < 1e-9);
    }
}
