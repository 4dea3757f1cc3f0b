//! The queue of signals for a turn's consumer.

use crate::redaction::Redaction;
use opencode_run_core::Signal;
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// The queued signals of a turn. Their consumer may be busy or gone.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    queue: VecDeque<Signal>,
    redaction: Redaction,
    consumer_gone: bool,
}

impl SendQueue {
    /// Returns an empty queue that redacts its signals.
    pub(crate) fn new(redaction: Redaction) -> Self {
        Self { redaction, ..Self::default() }
    }

    /// Adds a signal. The queue has no bound: callers check [`has_pending`](Self::has_pending) first.
    pub(crate) fn push(&mut self, signal: Signal) {
        if !self.consumer_gone {
            self.queue.extend(self.redaction.apply(signal));
        }
    }

    /// Returns the redaction.
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// Returns the number of queued signals.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether any signals are queued.
    pub(crate) fn has_pending(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Waits until the consumer has room, and sends as many signals as fit.
    pub(crate) async fn flush(&mut self, signals: &mpsc::Sender<Signal>) {
        if signals.reserve().await.is_err() {
            self.close();
        }
        self.flush_ready(signals);
    }

    /// Sends the signals that fit, without waiting.
    pub(crate) fn flush_ready(&mut self, signals: &mpsc::Sender<Signal>) {
        while let Ok(permit) = signals.try_reserve()
            && let Some(signal) = self.queue.pop_front()
        {
            permit.send(signal);
        }
    }

    /// Records that the consumer is gone, and discards the signals.
    pub(crate) fn close(&mut self) {
        self.consumer_gone = true;
        self.queue.clear();
    }

    /// Returns whether the consumer is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.consumer_gone
    }
}
