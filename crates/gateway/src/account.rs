//! An account: what one task may use, and what it has used, over however many sessions and paths.

use std::{fmt, sync::Arc};

use serde::Serialize;
use tokio::sync::watch;

use crate::{Traffic, meter::Meter};

/// What an account may use. Without any limit set it may use all it wants.
///
/// A limit is looked at before each request: the requests that are under way when it is reached run to their end, so more
/// can be used than the limit says, by as much as they use.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in field by field")]
pub struct Limits {
    /// The most that the tokens may cost, in USD. Only upstreams with prices can be used then.
    pub max_cost_usd: Option<f64>,
    /// The most requests.
    pub max_requests: Option<u64>,
    /// The most tokens, input and output together.
    pub max_tokens_total: Option<u64>,
}

/// A limit of an account was reached, and a request refused because of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "limit", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitReached {
    /// [`Limits::max_cost_usd`].
    Cost {
        /// The limit in USD.
        max: f64,
        /// What the tokens cost so far, in USD.
        value: f64,
    },
    /// [`Limits::max_requests`].
    Requests {
        /// The limit.
        max: u64,
        /// The requests so far.
        value: u64,
    },
    /// [`Limits::max_tokens_total`].
    Tokens {
        /// The limit.
        max: u64,
        /// The tokens so far.
        value: u64,
    },
    /// A limit on tokens or their cost cannot be held, since it is not known how many tokens were used: the upstream does not
    /// say so, or a client left an answer before its end, where it is said.
    Unmetered {
        /// The answers whose tokens are not known.
        answers: u64,
    },
}

/// A limit that no use can be held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limit on the cost is no amount of USD: it has to be a number from 0 up")]
#[non_exhaustive]
pub struct InvalidLimit;

/// What one task may use and what it has used: a cheap handle, whose clones are the same account.
///
/// An [`Admission`](crate::Admission) lets a session use a path on an account; several admissions may share one.
#[derive(Debug, Clone)]
pub struct Account(Arc<State>);

#[derive(Debug)]
struct State {
    limits: Limits,
    meter: Arc<Meter>,
    reached: watch::Sender<Option<LimitReached>>,
}

impl Account {
    /// Opens an account.
    ///
    /// # Errors
    ///
    /// [`InvalidLimit`] if the limit on the cost is negative or not a number.
    pub fn new(limits: Limits) -> Result<Self, InvalidLimit> {
        if limits.max_cost_usd.is_some_and(|max| max.is_nan() || max < 0.0) {
            return Err(InvalidLimit);
        }
        Ok(Self(Arc::new(State { limits, meter: Arc::default(), reached: watch::Sender::new(None) })))
    }

    /// Opens an account without limits.
    #[must_use]
    pub fn unlimited() -> Self {
        Self(Arc::new(State { limits: Limits::default(), meter: Arc::default(), reached: watch::Sender::new(None) }))
    }

    /// Returns what it may use.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Returns what it has used so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.0.meter.traffic()
    }

    /// Returns the limit for which a request was refused, if there was one.
    ///
    /// An account that has used up its limit with the last request that it needed has reached nothing.
    #[must_use]
    pub fn limit_reached(&self) -> Option<LimitReached> {
        *self.0.reached.borrow()
    }

    /// Returns the same to be waited for: `watch_limit().wait_for(Option::is_some)`.
    #[must_use]
    pub fn watch_limit(&self) -> watch::Receiver<Option<LimitReached>> {
        self.0.reached.subscribe()
    }

    /// Returns the bytes of answers that are no errors, to be waited for: each change is a sign of life of the provider. A request
    /// and its refusal are none, since who is refused may ask again for ever.
    ///
    /// A provider can send comments and empty events for as long as it likes: the model's output is
    /// [`watch_content`](Self::watch_content).
    #[must_use]
    pub fn watch_bytes(&self) -> watch::Receiver<u64> {
        self.0.meter.answered()
    }

    /// Returns a counter of the model's output, to be waited for: each change is progress. Comments, pings and empty pieces of
    /// text do not count. Compressed answers are not read, so their output does not count here.
    #[must_use]
    pub fn watch_content(&self) -> watch::Receiver<u64> {
        self.0.meter.said()
    }

    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.0.meter
    }

    /// Counts a request, or says which limit it would break.
    pub(crate) fn begin(&self) -> Result<(), LimitReached> {
        self.0.meter.begin(|traffic| self.0.limits.check(traffic)).inspect_err(|reached| {
            self.0.reached.send_if_modified(|known| known.is_none() && known.replace(*reached).is_none());
        })
    }
}

impl Limits {
    /// Whether they can only be held with an upstream that has prices.
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
                "it is not known how many tokens were used, so a limit on tokens or cost cannot be held: the model's provider \
                 does not report them, or an answer was left before its end"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Prices, Tokens, meter::Tally};

    fn account(limits: Limits) -> Account {
        Account::new(limits).unwrap()
    }

    fn request(account: &Account, tokens: u64) -> Tally {
        account.begin().unwrap();
        let prices = Some(Prices { input: 1.0, output: 1.0 });
        let mut tally = Tally::new([Arc::clone(account.meter()), Arc::default(), Arc::default()], prices);
        tally.used(Tokens { input: tokens, ..Tokens::default() });
        tally
    }

    #[test]
    fn so_many_requests_and_no_more() {
        let account = account(Limits { max_requests: Some(2), ..Limits::default() });
        drop((request(&account, 1), request(&account, 1)));
        assert_eq!(account.limit_reached(), None, "two were allowed");
        let reached = account.begin().unwrap_err();
        assert_eq!(reached, LimitReached::Requests { max: 2, value: 2 });
        assert_eq!(account.limit_reached(), Some(reached));
        assert_eq!((account.traffic().requests, account.traffic().refused), (2, 1));
    }

    #[test]
    fn tokens_and_cost_end_it_before_the_next_request() {
        let tokens = account(Limits { max_tokens_total: Some(10), ..Limits::default() });
        drop(request(&tokens, 9));
        drop(request(&tokens, 90));
        assert_eq!(tokens.begin(), Err(LimitReached::Tokens { max: 10, value: 99 }));

        let cost = account(Limits { max_cost_usd: Some(0.5), ..Limits::default() });
        drop(request(&cost, 400_000));
        drop(request(&cost, 400_000));
        assert_eq!(cost.begin(), Err(LimitReached::Cost { max: 0.5, value: 0.8 }));
        assert!(cost.limit_reached().unwrap().to_string().contains("0.5 USD"));
    }

    #[test]
    fn a_limit_that_cannot_be_held_is_said_to_be_so() {
        for limits in [
            Limits { max_tokens_total: Some(10), ..Limits::default() },
            Limits { max_cost_usd: Some(1.0), ..Limits::default() },
        ] {
            let account = account(limits);
            let mut tally = request(&account, 0);
            tally.asks_a_model();
            drop(tally);
            assert_eq!(account.begin(), Err(LimitReached::Unmetered { answers: 1 }));
        }
        let account = account(Limits { max_requests: Some(9), ..Limits::default() });
        request(&account, 0).asks_a_model();
        assert_eq!(account.begin(), Ok(()));
    }

    #[test]
    fn the_first_limit_reached_is_the_one_that_is_told() {
        let account = account(Limits { max_requests: Some(1), max_tokens_total: Some(5), ..Limits::default() });
        let mut watch = account.watch_limit();
        drop(request(&account, 9));
        assert!(!watch.has_changed().unwrap());
        let first = account.begin().unwrap_err();
        account.begin().unwrap_err();
        assert_eq!(*watch.borrow_and_update(), Some(first));
        assert!(!watch.has_changed().unwrap());
    }

    #[test]
    fn a_limit_is_a_number() {
        for max in [f64::NAN, -0.1] {
            assert_eq!(
                Account::new(Limits { max_cost_usd: Some(max), ..Limits::default() }).unwrap_err(),
                InvalidLimit
            );
        }
    }
}
