//! Counting: one meter for a path, an admission or an account, and the tally of one request over all that it counts for.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{Prices, Tokens, Traffic};

/// A counter that can be read at any time.
#[derive(Debug)]
pub(crate) struct Meter {
    traffic: Mutex<Traffic>,
    /// Bytes of answers, for those that wait for a sign of life.
    answered: watch::Sender<u64>,
    /// How often a model produced output, for tasks that wait for progress.
    said: watch::Sender<u64>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { traffic: Mutex::default(), answered: watch::Sender::new(0), said: watch::Sender::new(0) }
    }
}

impl Meter {
    pub(crate) fn traffic(&self) -> Traffic {
        self.lock().clone()
    }

    pub(crate) fn answered(&self) -> watch::Receiver<u64> {
        self.answered.subscribe()
    }

    pub(crate) fn said(&self) -> watch::Receiver<u64> {
        self.said.subscribe()
    }

    pub(crate) fn refuse(&self) {
        self.lock().refused += 1;
    }

    /// Counts a request as let through if `check` finds nothing against it; else counts it as refused.
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
        self.said.send_modify(|said| *said = said.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one request counts for. Dropping it ends the request.
#[derive(Debug)]
pub(crate) struct Tally {
    meters: [Arc<Meter>; 3],
    prices: Option<Prices>,
    asked: Instant,
    begun: bool,
    /// What comes is no answer but an error.
    is_refused: bool,
    counted: Tokens,
    /// Whether a model is at work on it, and has not told to the end what that costs.
    owes: bool,
}

impl Tally {
    /// Starts to count for a request that [`Meter::begin`] has let through on all of the meters.
    pub(crate) fn new(meters: [Arc<Meter>; 3], prices: Option<Prices>) -> Self {
        let (asked, counted) = (Instant::now(), Tokens::default());
        let tally = Self { meters, prices, asked, begun: false, is_refused: false, counted, owes: false };
        if prices.is_some() {
            tally.change(|traffic| traffic.cost_usd = traffic.cost_usd.or(Some(0.0)));
        }
        tally
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
            self.meters.iter().for_each(|meter| meter.progress(bytes as u64));
        }
    }

    /// Counts output of the model.
    pub(crate) fn said(&self) {
        self.meters.iter().for_each(|meter| meter.content());
    }

    /// Takes note that the upstream answers with an error, which costs nothing and is no progress: opencode asks again for long.
    pub(crate) fn refused(&mut self) {
        self.is_refused = true;
        self.ended(true);
    }

    /// Counts what the answer has cost so far; what was counted of it before is not counted again.
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

    /// Takes note that a model is at work on it from now on. Who leaves it before it is told what that costs, be it to be
    /// told nothing, has used more than is known.
    pub(crate) fn asks_a_model(&mut self) {
        self.owes = true;
    }

    /// Takes note of the end of the answer, and whether all that it cost was told by then, or it cost nothing.
    pub(crate) fn ended(&mut self, told: bool) {
        if self.owes && !told {
            self.change(|traffic| traffic.unreported += 1);
        }
        self.owes = false;
    }

    /// Takes note that there is no whole answer by the upstream's fault.
    pub(crate) fn failed(&mut self) {
        self.owes = false;
        self.change(|traffic| traffic.failed += 1);
    }

    fn change(&self, change: impl Fn(&mut Traffic)) {
        self.meters.iter().for_each(|meter| meter.change(&change));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.ended(false);
        self.change(|traffic| traffic.running = traffic.running.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(meter: &Arc<Meter>, prices: Option<Prices>) -> Tally {
        meter.begin::<()>(|_| Ok(())).unwrap();
        Tally::new([Arc::clone(meter), Arc::default(), Arc::default()], prices)
    }

    #[test]
    fn cumulative_reports_are_counted_once() {
        let meter = Arc::default();
        let mut tally = tally(&meter, Some(Prices { input: 1.0, output: 2.0 }));
        tally.used(Tokens { input: 1_000_000, output: 1, ..Tokens::default() });
        tally.used(Tokens { input: 1_000_000, output: 500_000, ..Tokens::default() });
        tally.used(Tokens { input: 1_000_000, output: 500_000, ..Tokens::default() });
        let traffic = meter.traffic();
        assert_eq!((traffic.tokens.input, traffic.tokens.output), (1_000_000, 500_000));
        assert!((traffic.cost_usd.unwrap() - 2.0).abs() < 1e-9);
        assert_eq!((traffic.requests, traffic.running), (1, 1));
        drop(tally);
        assert_eq!((meter.traffic().requests, meter.traffic().running), (1, 0));
    }

    #[test]
    fn bytes_of_answers_are_progress_and_those_of_errors_are_not() {
        let meter: Arc<Meter> = Arc::default();
        let answered = meter.answered();
        let mut refused = tally(&meter, None);
        refused.sent(3);
        refused.refused();
        refused.received(100);
        assert_eq!(*answered.borrow(), 0);
        let mut tally = tally(&meter, None);
        tally.sent(3);
        tally.received(4);
        tally.received(5);
        assert_eq!(*answered.borrow(), 9);
        let traffic = meter.traffic();
        assert_eq!((traffic.bytes_sent, traffic.bytes_received, traffic.first_byte.answers), (6, 109, 2));
        assert_eq!(traffic.cost_usd, None);
    }

    #[test]
    fn a_refused_request_is_no_request() {
        let meter = Meter::default();
        assert_eq!(meter.begin(|_| Err("no")), Err("no"));
        assert_eq!((meter.traffic().requests, meter.traffic().refused, meter.traffic().running), (0, 1, 0));
    }
}
