//! What went through the gateway, in numbers.

use std::time::Duration;

use serde::Serialize;

/// What went through the gateway: of a path, of an admission or of an account.
///
/// It is a snapshot; the counters only grow, but for [`running`](Self::running).
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Traffic {
    /// Requests that were let through to the upstream.
    pub requests: u64,
    /// Requests among them that have not ended yet.
    pub running: u64,
    /// Requests that were not let through: an unknown path, an unknown session, a limit.
    pub refused: u64,
    /// Requests that were let through and got no whole answer by the upstream's fault: no connection, a redirect, a stall,
    /// an answer that broke in the middle. An answer with an error status is whole.
    pub failed: u64,
    /// Answers of a model of which it is not known how many tokens they cost: they did not say it, or the client left them
    /// before their end.
    pub unreported: u64,
    /// The tokens that the upstream reported.
    pub tokens: Tokens,
    /// What the tokens cost in USD; none until a request went to an upstream with prices.
    pub cost_usd: Option<f64>,
    /// Bytes of the bodies that were sent to the upstream.
    pub bytes_sent: u64,
    /// Bytes of the bodies that came back.
    pub bytes_received: u64,
    /// How long the upstream took to begin its answers.
    pub first_byte: FirstByte,
}

/// Tokens as the upstream reported them, read the same way whichever protocol it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Tokens {
    /// All that the model read, from and to its cache included.
    pub input: u64,
    /// All that the model wrote, its reasoning included.
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
    /// The answers that have begun.
    pub answers: u64,
    /// The latest of the times, in milliseconds.
    pub last_ms: f64,
    /// The longest of the times, in milliseconds.
    pub longest_ms: f64,
    /// The sum of the times, in milliseconds: divided by `answers` it is their mean.
    pub sum_ms: f64,
}

/// What a million tokens cost, in USD.
///
/// Input from a cache is counted at the full price of input, so that a limit on the cost errs on the safe side with every
/// provider that sells it cheaper.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in field by field")]
pub struct Prices {
    /// For input.
    pub input: f64,
    /// For output.
    pub output: f64,
}

impl Tokens {
    /// Returns the input and the output together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Returns, field by field, the greater of the two: reports of one answer are cumulative.
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
    /// Returns what these tokens cost in USD.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "2^53 tokens are more than anyone can pay")]
    pub fn cost(&self, tokens: Tokens) -> f64 {
        (tokens.input as f64 * self.input + tokens.output as f64 * self.output) / 1e6
    }

    pub(crate) fn are_sound(&self) -> bool {
        [self.input, self.output].iter().all(|price| price.is_finite() && *price >= 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_cost_what_the_prices_say() {
        let tokens = Tokens { input: 2_000_000, output: 500_000, cache_read: 1_000_000, ..Tokens::default() };
        let cost = Prices { input: 3.0, output: 10.0 }.cost(tokens);
        assert!((cost - 11.0).abs() < 1e-9, "{cost}");
        assert_eq!(tokens.total(), 2_500_000);
    }

    #[test]
    fn prices_that_are_no_prices_are_unsound() {
        for price in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(!Prices { input: price, output: 1.0 }.are_sound());
            assert!(!Prices { input: 1.0, output: price }.are_sound());
        }
        assert!(Prices::default().are_sound());
    }

    #[test]
    fn an_upstream_that_reports_nonsense_overflows_nothing() {
        let all = Tokens { input: u64::MAX, output: u64::MAX, ..Tokens::default() };
        assert_eq!(all.plus(all), all);
        assert_eq!(all.total(), u64::MAX);
        assert_eq!(Tokens::default().minus(all), Tokens::default());
    }

    #[test]
    fn times_to_the_first_byte_add_up() {
        let mut times = FirstByte::default();
        times.add(Duration::from_millis(30));
        times.add(Duration::from_millis(10));
        assert_eq!(times.answers, 2);
        assert!((times.last_ms - 10.0).abs() < 1e-9 && (times.longest_ms - 30.0).abs() < 1e-9);
        assert!((times.sum_ms - 40.0).abs() < 1e-9);
    }
}
