//! The budget of a turn for the model, and its usage.

use crate::ModelSourceType;
use serde::{Deserialize, Serialize};

/// The budget of a turn for its model. `None` means no limit.
///
/// It is checked before each request to the model, so it can be exceeded by the usage of concurrent requests: one,
/// plus those of sub-agents and of the agent's commands. Only an executor that observes the requests can enforce
/// it; others reject the turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in field by field")]
pub struct Budget {
    /// The maximum cost of the tokens in USD. Requires a model source with prices.
    pub max_cost_usd: Option<f64>,
    /// The maximum number of requests, including those of sub-agents.
    pub max_requests: Option<u64>,
    /// The maximum number of tokens of requests and answers together.
    pub max_tokens: Option<u64>,
}

impl Budget {
    /// Returns whether there is no limit.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// The traffic of a turn with a model, as observed between opencode and the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelTraffic {
    /// The model source.
    pub source: ModelSourceType,
    /// The number of forwarded requests.
    pub requests: u64,
    /// The number of rejected requests: a limit was reached, or the request is not one to a model.
    pub refused: u64,
    /// The number of requests without a complete answer because of the provider. An answer with an error status is
    /// complete.
    pub failed: u64,
    /// The number of input tokens, including reads and writes of the provider's cache.
    pub input_tokens: u64,
    /// The number of output tokens, including reasoning.
    pub output_tokens: u64,
    /// The cost in USD; `None` if the source has no prices.
    pub cost_usd: Option<f64>,
    /// The size of the requests in bytes.
    pub bytes_sent: u64,
    /// The size of the answers in bytes.
    pub bytes_received: u64,
    /// The mean time in milliseconds from the end of a request to the first byte of its answer; `None` without an
    /// answer.
    pub first_byte_ms: Option<f64>,
}

impl ModelTraffic {
    /// Creates counters of zero for a source.
    #[must_use]
    pub fn new(source: ModelSourceType) -> Self {
        Self {
            source,
            requests: 0,
            refused: 0,
            failed: 0,
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: None,
            bytes_sent: 0,
            bytes_received: 0,
            first_byte_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_with_any_limit_is_limited() {
        assert!(Budget::default().is_unlimited());
        assert!(!Budget { max_cost_usd: Some(0.0), ..Budget::default() }.is_unlimited());
        assert!(!Budget { max_requests: Some(0), ..Budget::default() }.is_unlimited());
        assert!(!Budget { max_tokens: Some(0), ..Budget::default() }.is_unlimited());
    }
}
