//! The record of the server's requests and of clients that disconnected.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::RecordedRequest;

/// The default number of requests that are kept. A request of opencode is about 50 KB, so this is at most about 500
/// MB. Older ones are dropped but still counted.
pub const DEFAULT_KEPT_REQUESTS: usize = 10_000;

/// The number of requests and of disconnects.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) requests: usize,
    pub(crate) disconnects: usize,
}

/// The requests, the counts, and a way to wait for them.
#[derive(Debug)]
pub(crate) struct RequestLedger {
    kept: Mutex<VecDeque<Arc<RecordedRequest>>>,
    capacity: usize,
    counts: watch::Sender<Counts>,
}

impl RequestLedger {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { kept: Mutex::default(), capacity, counts: watch::Sender::default() }
    }

    pub(crate) fn record(&self, request: Arc<RecordedRequest>) {
        {
            let mut kept = self.kept();
            kept.push_back(request);
            if kept.len() > self.capacity {
                kept.pop_front();
            }
        }
        self.counts.send_modify(|counts| counts.requests += 1);
    }

    pub(crate) fn count_disconnect(&self) {
        self.counts.send_modify(|counts| counts.disconnects += 1);
    }

    pub(crate) fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.kept().iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    /// A panic elsewhere cannot leave the queue inconsistent, so a poisoned lock is ignored.
    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<RecordedRequest>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
