//! A handle to one started turn.

use super::shared::Shared;
use crate::event_log::EventLog;
use crate::{Control, Events, TurnRecord};
use std::sync::Arc;
use std::time::Duration;

/// A handle to one started turn: reads its events, waits for it and ends it.
///
/// It keeps nothing alive: the turn is killed when its [`TurnRunner`](crate::TurnRunner) is dropped, and
/// [`wait`](Self::wait) still returns the record. Dropping the handle does not affect the turn.
#[derive(Debug, Clone)]
pub struct TurnHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) index: usize,
    pub(super) log: Arc<EventLog>,
}

impl TurnHandle {
    /// Waits until nothing that the turn started is still running, and returns its record.
    pub async fn wait(&self) -> Arc<TurnRecord> {
        self.shared.finished(self.index).await
    }

    /// Returns a reader of the turn's events, from the oldest in the window. A slow reader gets the number of missed
    /// events.
    #[must_use]
    pub fn events(&self) -> Events {
        EventLog::read_from_start(&self.log)
    }

    /// Returns a lossless reader: the turn waits for it; see
    /// [`TurnRunner::lossless_events`](crate::TurnRunner::lossless_events).
    #[must_use]
    pub fn lossless_events(&self) -> Events {
        EventLog::read_lossless(&self.log)
    }

    /// Ends the turn gracefully; its session can be continued. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    #[doc(alias = "cancel")]
    pub fn interrupt(&self) -> bool {
        self.shared.request_control(Control::Interrupt, Some(self.index))
    }

    /// Kills the turn. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    #[doc(alias = "abort")]
    pub fn kill(&self) -> bool {
        self.shared.request_control(Control::Kill, Some(self.index))
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
