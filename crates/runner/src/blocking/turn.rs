//! One turn, watched and controlled by a synchronous program.

use super::runtime::OnRuntime;
use crate::TurnControl;
use opencode_run_core::{EventItem, TurnError, TurnRecord};
use std::sync::Arc;
use std::time::Duration;

/// A [`Turn`](crate::Turn) for synchronous programs: an iterator over its events, which ends with the turn.
///
/// Dropping it detaches the turn, which continues as long as there is a handle to its runner.
#[derive(Debug)]
pub struct Turn {
    stream: Option<crate::Turn>,
    control: OnRuntime<TurnControl>,
}

impl Turn {
    pub(super) fn new(turn: OnRuntime<crate::Turn>) -> Self {
        let control = turn.with(turn.get().control());
        Self { stream: Some(turn.into_inner()), control }
    }

    /// Makes the iterator lossless from now on: the turn waits for its reader, see [`crate::Turn::lossless`].
    #[must_use]
    pub fn lossless(mut self) -> Self {
        self.stream = self.stream.map(crate::Turn::lossless);
        self
    }

    /// Includes events of an unknown kind, see [`crate::Turn::with_unknown`].
    #[must_use]
    pub fn with_unknown(mut self) -> Self {
        self.stream = self.stream.map(crate::Turn::with_unknown);
        self
    }

    /// Returns a handle that can end or await the turn from async code.
    #[must_use]
    pub fn control(&self) -> TurnControl {
        self.control.get().clone()
    }

    /// Waits until nothing that the turn started is still running, and returns its record, whether it succeeded or not.
    #[must_use]
    pub fn wait(&self) -> Arc<TurnRecord> {
        self.control.call(|control| async move { control.wait().await })
    }

    /// Waits for the end of the turn and returns its answer.
    ///
    /// # Errors
    ///
    /// If the turn failed or was interrupted. The error holds the record.
    pub fn answer(&self) -> Result<String, TurnError> {
        self.wait().answer()
    }

    /// Interrupts the turn; its session can be continued. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    #[doc(alias = "cancel")]
    pub fn interrupt(&self) -> bool {
        self.control.get().interrupt()
    }

    /// Kills the turn. Returns whether it was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn kill(&self) -> bool {
        self.control.get().kill()
    }

    /// Interrupts the turn, kills it if it has not ended after the grace period, and returns its record.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn stop(&self, grace: Duration) -> Arc<TurnRecord> {
        self.control.call(move |control| async move { control.stop(grace).await })
    }
}

impl Iterator for Turn {
    type Item = EventItem;

    fn next(&mut self) -> Option<EventItem> {
        // The stream is moved to the runtime and back.
        let mut stream = self.stream.take()?;
        let reading = async move { (stream.next().await, stream) };
        let (item, stream) = self.control.wait(reading);
        self.stream = Some(stream);
        item
    }
}
