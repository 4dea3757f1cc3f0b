//! What a turn may use of a model, and what it used.

use crate::ModelSourceType;
use serde::{Deserialize, Serialize};

/// How much of a model a turn may use. No limit where there is none.
///
/// It is looked at before each request to the model, so that more can be used than it says by as much as the requests use that
/// are under way at once: one, but for sub-agents and for what the agent's commands ask. Only an executor that sees the
/// requests can hold a turn to it; another one refuses the turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in field by field")]
pub struct Budget {
    /// The most that the tokens may cost, in USD. It needs a model source with prices.
    pub max_cost_usd: Option<f64>,
    /// The most requests, those of sub-agents included.
    pub max_requests: Option<u64>,
    /// The most tokens, those of the requests and of the answers together.
    pub max_tokens: Option<u64>,
}

impl Budget {
    /// Returns whether there is no limit.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// What went to a model and came from it in a turn, as seen on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelTraffic {
    /// The model source.
    pub source: ModelSourceType,
    /// The requests that were let through.
    pub requests: u64,
    /// The requests that were not: a limit was reached, or they were none that a model is sent.
    pub refused: u64,
    /// The requests that got no whole answer by the provider's fault. An answer with an error status is whole.
    pub failed: u64,
    /// The tokens that were read, from and to the provider's cache included.
    pub input_tokens: u64,
    /// The tokens that were written, the reasoning included.
    pub output_tokens: u64,
    /// What they cost in USD; none where the source has no prices.
    pub cost_usd: Option<f64>,
    /// Bytes of the requests.
    pub bytes_sent: u64,
    /// Bytes of the answers.
    pub bytes_received: u64,
    /// The mean time from the end of a request to the first byte of its answer, in milliseconds; none without an answer.
    pub first_byte_ms: Option<f64>,
}

impl ModelTraffic {
    /// Begins to count for a source.
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
    fn any_limit_is_one() {
        assert!(Budget::default().is_unlimited());
        assert!(!Budget { max_cost_usd: Some(0.0), ..Budget::default() }.is_unlimited());
        assert!(!Budget { max_requests: Some(0), ..Budget::default() }.is_unlimited());
        assert!(!Budget { max_tokens: Some(0), ..Budget::default() }.is_unlimited());
    }
}
