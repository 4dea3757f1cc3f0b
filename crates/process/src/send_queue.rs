//! What waits for a turn's consumer.

use crate::redaction::Redaction;
use opencode_run_core::Signal;
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// The signals of a turn on their way to its consumer, who may be busy or gone.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    queue: VecDeque<Signal>,
    redaction: Redaction,
    consumer_gone: bool,
}

impl SendQueue {
    /// Makes one that lets no secret out.
    pub(crate) fn new(redaction: Redaction) -> Self {
        Self { redaction, ..Self::default() }
    }

    /// Adds a signal. There is no bound here: whoever adds looks at [`has_pending`](Self::is_waiting) first.
    pub(crate) fn push(&mut self, signal: Signal) {
        if !self.consumer_gone {
            self.queue.extend(self.redaction.apply(signal));
        }
    }

    /// Returns what takes the secret out of what is told.
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// Returns how many signals wait for somebody.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether anything waits for somebody.
    pub(crate) fn has_pending(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Waits until the consumer has room, and hands out what it has room for.
    pub(crate) async fn flush(&mut self, signals: &mpsc::Sender<Signal>) {
        if signals.reserve().await.is_err() {
            self.close();
        }
        self.flush_ready(signals);
    }

    /// Hands out what the consumer has room for.
    pub(crate) fn flush_ready(&mut self, signals: &mpsc::Sender<Signal>) {
        while let Ok(permit) = signals.try_reserve()
            && let Some(signal) = self.queue.pop_front()
        {
            permit.send(signal);
        }
    }

    /// Notes that nobody wants to know any more.
    pub(crate) fn close(&mut self) {
        self.consumer_gone = true;
        self.queue.clear();
    }

    /// Returns whether nobody wants to know any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.consumer_gone
    }
}
