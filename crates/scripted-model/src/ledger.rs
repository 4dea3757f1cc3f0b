//! What the server has seen: its requests, and the clients that went away.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::RecordedRequest;

/// The number of requests that a server keeps unless told otherwise; a request of opencode is some 50 KB, so this is
/// about 500 MB at worst. Older ones are forgotten, but stay counted.
pub const DEFAULT_KEPT_REQUESTS: usize = 10_000;

/// How many there were of each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) requests: usize,
    pub(crate) disconnects: usize,
}

/// The requests, the counts, and a way to wait for them.
#[derive(Debug)]
pub(crate) struct Ledger {
    kept: Mutex<VecDeque<Arc<RecordedRequest>>>,
    capacity: usize,
    counts: watch::Sender<Counts>,
}

impl Ledger {
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

    /// A panic elsewhere leaves the queue whole, so a poisoned lock is as good as any.
    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<RecordedRequest>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
