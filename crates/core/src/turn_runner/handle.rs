//! One turn that was started, whatever is started after it.

use super::Shared;
use crate::event_log::EventLog;
use crate::{Control, Events, TurnRecord};
use std::sync::Arc;
use std::time::Duration;

/// A turn that was started: it can be watched, awaited and ended from anywhere.
///
/// It keeps nothing alive: the turn is killed when its [`TurnRunner`](crate::TurnRunner) is dropped, and [`wait`](Self::wait)
/// returns the record all the same. Dropping the handle changes nothing for the turn.
#[derive(Debug, Clone)]
pub struct TurnHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) place: usize,
    pub(super) log: Arc<EventLog>,
}

impl TurnHandle {
    /// Waits until nothing of the turn is left, and returns its record.
    pub async fn wait(&self) -> Arc<TurnRecord> {
        self.shared.finished(self.place).await
    }

    /// Returns a reader of the turn's events, from the oldest in the window on. A slow reader learns how many it missed.
    #[must_use]
    pub fn events(&self) -> Events {
        EventLog::read_from_start(&self.log)
    }

    /// Returns a reader that misses no event that comes: the turn waits for it; see
    /// [`TurnRunner::every_event`](crate::TurnRunner::every_event).
    #[must_use]
    pub fn every_event(&self) -> Events {
        EventLog::read_every_event(&self.log)
    }

    /// Asks the turn to end, gently first; its session can be continued. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    #[doc(alias = "cancel")]
    pub fn interrupt(&self) -> bool {
        self.shared.wish(Control::Interrupt, Some(self.place))
    }

    /// Ends the turn at once. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    #[doc(alias = "abort")]
    pub fn kill(&self) -> bool {
        self.shared.wish(Control::Kill, Some(self.place))
    }

    /// Interrupts the turn, kills it if it has not ended after the grace period, and returns its record.
    pub async fn stop(&self, grace: Duration) -> Arc<TurnRecord> {
        self.interrupt();
        if let Ok(record) = tokio::time::timeout(grace, self.wait()).await {
            return record;
        }
        self.kill();
        self.wait().await
    }
}
