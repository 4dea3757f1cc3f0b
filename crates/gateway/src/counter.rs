//! Usage counters: one per route, lease and budget, and the usage of one request, which counts for all three.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{Prices, Tokens, Traffic};

/// A usage counter that can be read at any time.
#[derive(Debug)]
pub(crate) struct UsageCounter {
    traffic: Mutex<Traffic>,
    /// The number of bytes of answers, for tasks that watch for liveness.
    answered: watch::Sender<u64>,
    /// The number of times that a model produced output, for tasks that watch for progress.
    output: watch::Sender<u64>,
}

impl Default for UsageCounter {
    fn default() -> Self {
        Self { traffic: Mutex::default(), answered: watch::Sender::new(0), output: watch::Sender::new(0) }
    }
}

impl UsageCounter {
    pub(crate) fn traffic(&self) -> Traffic {
        self.lock().clone()
    }

    pub(crate) fn answered(&self) -> watch::Receiver<u64> {
        self.answered.subscribe()
    }

    pub(crate) fn model_output(&self) -> watch::Receiver<u64> {
        self.output.subscribe()
    }

    pub(crate) fn refuse(&self) {
        self.lock().refused += 1;
    }

    /// Counts a request as forwarded if `check` accepts it, otherwise as rejected.
    pub(crate) fn begin<E>(&self, check: impl FnOnce(&Traffic) -> Result<(), E>) -> Result<(), E> {
        let mut traffic = self.lock();
        match check(&traffic) {
            Ok(()) => {
                traffic.requests += 1;
                traffic.running += 1;
                Ok(())
            }
            Err(against) => {
                traffic.refused += 1;
                Err(against)
            }
        }
    }

    fn change(&self, change: impl Fn(&mut Traffic)) {
        change(&mut self.lock());
    }

    fn progress(&self, bytes: u64) {
        self.answered.send_modify(|answered| *answered = answered.saturating_add(bytes));
    }

    fn content(&self) {
        self.output.send_modify(|said| *said = said.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The usage of one request. Dropping it ends the request.
#[derive(Debug)]
pub(crate) struct RequestUsage {
    counters: [Arc<UsageCounter>; 3],
    prices: Option<Prices>,
    asked: Instant,
    begun: bool,
    /// Whether the answer is an error.
    is_refused: bool,
    counted: Tokens,
    /// Whether a model works on the request and its final token counts are still unknown.
    owes: bool,
}

impl RequestUsage {
    /// Starts counting for a request that [`UsageCounter::begin`] accepted on all counters.
    pub(crate) fn new(counters: [Arc<UsageCounter>; 3], prices: Option<Prices>) -> Self {
        let asked = Instant::now();
        let counted = Tokens::default();
        let usage = Self { counters, prices, asked, begun: false, is_refused: false, counted, owes: false };
        if prices.is_some() {
            usage.change(|traffic| traffic.cost_usd = traffic.cost_usd.or(Some(0.0)));
        }
        usage
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.asked = Instant::now();
        self.change(|traffic| traffic.bytes_sent += bytes as u64);
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        if !self.begun {
            self.begun = true;
            let time: Duration = self.asked.elapsed();
            self.change(|traffic| traffic.first_byte.add(time));
        }
        self.change(|traffic| traffic.bytes_received += bytes as u64);
        if !self.is_refused {
            self.counters.iter().for_each(|counter| counter.progress(bytes as u64));
        }
    }

    /// Counts output of the model.
    pub(crate) fn model_output(&self) {
        self.counters.iter().for_each(|counter| counter.content());
    }

    /// Records that the upstream answers with an error, which costs nothing and is not progress, because opencode
    /// retries it.
    pub(crate) fn refused(&mut self) {
        self.is_refused = true;
        self.ended(true);
    }

    /// Counts the tokens of the answer so far; tokens counted before are not counted again.
    pub(crate) fn used(&mut self, tokens: Tokens) {
        let new = tokens.minus(self.counted);
        if new == Tokens::default() {
            return;
        }
        self.counted = self.counted.max(tokens);
        let cost = self.prices.map(|prices| prices.cost(new));
        self.change(|traffic| {
            traffic.tokens = traffic.tokens.plus(new);
            if let Some(cost) = cost {
                traffic.cost_usd = Some(traffic.cost_usd.unwrap_or(0.0) + cost);
            }
        });
    }

    /// Records that a model works on the request from now on. If the client leaves before the final token counts,
    /// more was used than is known.
    pub(crate) fn runs_model(&mut self) {
        self.owes = true;
    }

    /// Records the end of the answer, and whether its final token counts are known or it cost nothing.
    pub(crate) fn ended(&mut self, told: bool) {
        if self.owes && !told {
            self.change(|traffic| traffic.unreported += 1);
        }
        self.owes = false;
    }

    /// Records that there is no complete answer because of the upstream.
    pub(crate) fn failed(&mut self) {
        self.owes = false;
        self.change(|traffic| traffic.failed += 1);
    }

    fn change(&self, change: impl Fn(&mut Traffic)) {
        self.counters.iter().for_each(|counter| counter.change(&change));
    }
}

impl Drop for RequestUsage {
    fn drop(&mut self) {
        self.ended(false);
        self.change(|traffic| traffic.running = traffic.running.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(counter: &Arc<UsageCounter>, prices: Option<Prices>) -> RequestUsage {
        counter.begin::<()>(|_| Ok(())).unwrap();
        RequestUsage::new([Arc::clone(counter), Arc::default(), Arc::default()], prices)
    }

    #[test]
    fn cumulative_reports_are_counted_once() {
        let counter = Arc::default();
        let mut usage = usage(&counter, Some(Prices { input: 1.0, output: 2.0 }));
        usage.used(Tokens { input: 1_000_000, output: 1, ..Tokens::default() });
        usage.used(Tokens { input: 1_000_000, output: 500_000, ..Tokens::default() });
        usage.used(Tokens { input: 1_000_000, output: 500_000, ..Tokens::default() });
        let traffic = counter.traffic();
        assert_eq!((traffic.tokens.input, traffic.tokens.output), (1_000_000, 500_000));
        assert!((traffic.cost_usd.unwrap() - 2.0).abs() < 1e-9);
        assert_eq!((traffic.requests, traffic.running), (1, 1));
        drop(usage);
        assert_eq!((counter.traffic().requests, counter.traffic().running), (1, 0));
    }

    #[test]
    fn error_bytes_are_not_progress() {
        let counter: Arc<UsageCounter> = Arc::default();
        let answered = counter.answered();
        let mut refused = usage(&counter, None);
        refused.sent(3);
        refused.refused();
        refused.received(100);
        assert_eq!(*answered.borrow(), 0);
        let mut usage = usage(&counter, None);
        usage.sent(3);
        usage.received(4);
        usage.received(5);
        assert_eq!(*answered.borrow(), 9);
        let traffic = counter.traffic();
        assert_eq!((traffic.bytes_sent, traffic.bytes_received, traffic.first_byte.answers), (6, 109, 2));
        assert_eq!(traffic.cost_usd, None);
    }

    #[test]
    fn rejected_request_is_counted_separately() {
        let counter = UsageCounter::default();
        assert_eq!(counter.begin(|_| Err("no")), Err("no"));
        assert_eq!((counter.traffic().requests, counter.traffic().refused, counter.traffic().running), (0, 1, 0));
    }
}
