//! Token counts of a step, a turn or a conversation.

use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// Token counts as reported by the model's provider through opencode.
///
/// The five counts are disjoint: `input` excludes tokens that were read from the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::exhaustive_structs, reason = "callers write the counts out, and add them up field by field")]
pub struct Usage {
    /// Input tokens that were not in the provider's cache.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Reasoning tokens.
    pub reasoning: u64,
    /// Input tokens that were read from the provider's cache.
    pub cache_read: u64,
    /// Input tokens that were written to the provider's cache.
    pub cache_write: u64,
}

impl Usage {
    /// Returns the sum of all five counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        [self.output, self.reasoning, self.cache_read, self.cache_write]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }
}

// The provider's counts are untrusted input: an absurd one must not overflow into a panic.
impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_sum_saturates() {
        let step = Usage { input: 1, output: 2, reasoning: 3, cache_read: 4, cache_write: 5 };
        let sum: Usage = [step, step].into_iter().sum();
        assert_eq!(sum, Usage { input: 2, output: 4, reasoning: 6, cache_read: 8, cache_write: 10 });
        assert_eq!(sum.total(), 30);

        let absurd = Usage { input: u64::MAX, ..step };
        assert_eq!((absurd + step).input, u64::MAX);
        assert_eq!(absurd.total(), u64::MAX);
    }
}
