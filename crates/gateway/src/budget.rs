//! A budget with its usage: the limits of one task and its usage over any number of sessions and routes.

use std::{fmt, sync::Arc};

use serde::Serialize;
use tokio::sync::watch;

use crate::{Traffic, counter::UsageCounter};

/// The limits of a budget. Without any limit, usage is unlimited.
///
/// Limits are checked before each request. Requests that are running when a limit is reached continue to their end,
/// so the limit can be exceeded by their usage.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in field by field")]
pub struct UsageLimits {
    /// The maximum cost of the tokens in USD. Requires upstreams with prices.
    pub max_cost_usd: Option<f64>,
    /// The maximum number of requests.
    pub max_requests: Option<u64>,
    /// The maximum number of input and output tokens together.
    pub max_tokens_total: Option<u64>,
}

/// A limit of a budget was reached, and a request was rejected because of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "limit", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitReached {
    /// [`UsageLimits::max_cost_usd`].
    Cost {
        /// The limit in USD.
        max: f64,
        /// The cost of the tokens so far in USD.
        value: f64,
    },
    /// [`UsageLimits::max_requests`].
    Requests {
        /// The maximum number of requests.
        max: u64,
        /// The number of requests so far.
        value: u64,
    },
    /// [`UsageLimits::max_tokens_total`].
    Tokens {
        /// The maximum number of tokens.
        max: u64,
        /// The number of tokens so far.
        value: u64,
    },
    /// A limit on tokens or cost cannot be enforced, because the number of used tokens is unknown: the upstream
    /// does not report it, or a client cancelled an answer before the report at its end.
    Unmetered {
        /// The number of answers with unknown token counts.
        answers: u64,
    },
}

/// A limit that is not a valid number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cost limit must be an amount in USD of at least 0")]
#[non_exhaustive]
pub struct InvalidLimit;

/// The limits of one task and its usage: a cheap handle, whose clones share the same budget.
///
/// An [`Lease`](crate::Lease) lets a session use a route on a budget; several leases may share one budget.
#[derive(Debug, Clone)]
pub struct UsageBudget(Arc<State>);

#[derive(Debug)]
struct State {
    limits: UsageLimits,
    counter: Arc<UsageCounter>,
    reached: watch::Sender<Option<LimitReached>>,
}

impl UsageBudget {
    /// Creates a budget with limits.
    ///
    /// # Errors
    ///
    /// [`InvalidLimit`] if the limit on the cost is negative or not a number.
    pub fn new(limits: UsageLimits) -> Result<Self, InvalidLimit> {
        if limits.max_cost_usd.is_some_and(|max| max.is_nan() || max < 0.0) {
            return Err(InvalidLimit);
        }
        Ok(Self(Arc::new(State { limits, counter: Arc::default(), reached: watch::Sender::new(None) })))
    }

    /// Creates a budget without limits.
    #[must_use]
    pub fn unlimited() -> Self {
        Self(Arc::new(State {
            limits: UsageLimits::default(),
            counter: Arc::default(),
            reached: watch::Sender::new(None),
        }))
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> UsageLimits {
        self.0.limits
    }

    /// Returns the usage so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.0.counter.traffic()
    }

    /// Returns the limit for which a request was rejected, if there was one.
    ///
    /// A budget whose limit was used up by the last request of the task has not reached it.
    #[must_use]
    pub fn limit_reached(&self) -> Option<LimitReached> {
        *self.0.reached.borrow()
    }

    /// Returns a receiver of the reached limit, to wait with `watch_limit().wait_for(Option::is_some)`.
    #[must_use]
    pub fn watch_limit(&self) -> watch::Receiver<Option<LimitReached>> {
        self.0.reached.subscribe()
    }

    /// Returns a receiver of the number of bytes of successful answers: each change shows that the provider is
    /// alive. Requests and rejections do not count, because a rejected client may retry forever.
    ///
    /// A provider can send comments and empty events without end; the model's output is counted by
    /// [`watch_content`](Self::watch_content).
    #[must_use]
    pub fn watch_bytes(&self) -> watch::Receiver<u64> {
        self.0.counter.answered()
    }

    /// Returns a receiver of a counter of the model's output: each change is progress. Comments, pings and empty
    /// pieces of text do not count. Compressed answers are not parsed, so their output does not count here.
    #[must_use]
    pub fn watch_content(&self) -> watch::Receiver<u64> {
        self.0.counter.model_output()
    }

    pub(crate) fn counter(&self) -> &Arc<UsageCounter> {
        &self.0.counter
    }

    /// Counts a request, or returns the limit that it would exceed.
    pub(crate) fn begin(&self) -> Result<(), LimitReached> {
        self.0.counter.begin(|traffic| self.0.limits.check(traffic)).inspect_err(|reached| {
            self.0.reached.send_if_modified(|known| known.is_none() && known.replace(*reached).is_none());
        })
    }
}

impl UsageLimits {
    /// Returns whether the limits require an upstream with prices.
    pub(crate) fn need_prices(&self) -> bool {
        self.max_cost_usd.is_some()
    }

    fn check(&self, used: &Traffic) -> Result<(), LimitReached> {
        if let Some(max) = self.max_requests
            && used.requests >= max
        {
            return Err(LimitReached::Requests { max, value: used.requests });
        }
        if let Some(max) = self.max_tokens_total
            && used.tokens.total() >= max
        {
            return Err(LimitReached::Tokens { max, value: used.tokens.total() });
        }
        let cost = used.cost_usd.unwrap_or(0.0);
        if let Some(max) = self.max_cost_usd
            && cost >= max
        {
            return Err(LimitReached::Cost { max, value: cost });
        }
        if used.unreported > 0 && (self.max_tokens_total.is_some() || self.max_cost_usd.is_some()) {
            return Err(LimitReached::Unmetered { answers: used.unreported });
        }
        Ok(())
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cost { max, value } => write!(f, "the limit of {max} USD is reached: {value:.4} USD were used"),
            Self::Requests { max, .. } => write!(f, "the limit of {max} model requests is reached"),
            Self::Tokens { max, value } => write!(f, "the limit of {max} tokens is reached: {value} were used"),
            Self::Unmetered { .. } => write!(
                f,
                "the number of used tokens is unknown, so a limit on tokens or cost cannot be enforced: the model's provider \
                 does not report it, or an answer was cancelled before its end"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Prices, Tokens, counter::RequestUsage};

    fn budget(limits: UsageLimits) -> UsageBudget {
        UsageBudget::new(limits).unwrap()
    }

    fn request(budget: &UsageBudget, tokens: u64) -> RequestUsage {
        budget.begin().unwrap();
        let prices = Some(Prices { input: 1.0, output: 1.0 });
        let mut usage = RequestUsage::new([Arc::clone(budget.counter()), Arc::default(), Arc::default()], prices);
        usage.used(Tokens { input: tokens, ..Tokens::default() });
        usage
    }

    #[test]
    fn request_limit_is_enforced() {
        let budget = budget(UsageLimits { max_requests: Some(2), ..UsageLimits::default() });
        drop((request(&budget, 1), request(&budget, 1)));
        assert_eq!(budget.limit_reached(), None, "two were allowed");
        let reached = budget.begin().unwrap_err();
        assert_eq!(reached, LimitReached::Requests { max: 2, value: 2 });
        assert_eq!(budget.limit_reached(), Some(reached));
        assert_eq!((budget.traffic().requests, budget.traffic().refused), (2, 1));
    }

    #[test]
    fn token_and_cost_limits_reject_next_request() {
        let tokens = budget(UsageLimits { max_tokens_total: Some(10), ..UsageLimits::default() });
        drop(request(&tokens, 9));
        drop(request(&tokens, 90));
        assert_eq!(tokens.begin(), Err(LimitReached::Tokens { max: 10, value: 99 }));

        let cost = budget(UsageLimits { max_cost_usd: Some(0.5), ..UsageLimits::default() });
        drop(request(&cost, 400_000));
        drop(request(&cost, 400_000));
        assert_eq!(cost.begin(), Err(LimitReached::Cost { max: 0.5, value: 0.8 }));
        assert!(cost.limit_reached().unwrap().to_string().contains("0.5 USD"));
    }

    #[test]
    fn unenforceable_limit_is_reported() {
        for limits in [
            UsageLimits { max_tokens_total: Some(10), ..UsageLimits::default() },
            UsageLimits { max_cost_usd: Some(1.0), ..UsageLimits::default() },
        ] {
            let budget = budget(limits);
            let mut usage = request(&budget, 0);
            usage.runs_model();
            drop(usage);
            assert_eq!(budget.begin(), Err(LimitReached::Unmetered { answers: 1 }));
        }
        let budget = budget(UsageLimits { max_requests: Some(9), ..UsageLimits::default() });
        request(&budget, 0).runs_model();
        assert_eq!(budget.begin(), Ok(()));
    }

    #[test]
    fn first_reached_limit_is_reported() {
        let budget = budget(UsageLimits { max_requests: Some(1), max_tokens_total: Some(5), ..UsageLimits::default() });
        let mut watch = budget.watch_limit();
        drop(request(&budget, 9));
        assert!(!watch.has_changed().unwrap());
        let first = budget.begin().unwrap_err();
        budget.begin().unwrap_err();
        assert_eq!(*watch.borrow_and_update(), Some(first));
        assert!(!watch.has_changed().unwrap());
    }

    #[test]
    fn invalid_limit_is_rejected() {
        for max in [f64::NAN, -0.1] {
            assert_eq!(
                UsageBudget::new(UsageLimits { max_cost_usd: Some(max), ..UsageLimits::default() }).unwrap_err(),
                InvalidLimit
            );
        }
    }
}
