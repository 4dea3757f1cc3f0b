//! Starts turns that are followed by their handle.

use super::{PreparedTurn, Runner};
use crate::runner_error::RunnerError;
use crate::turn::Turn;
use opencode_run_core::Prompt;
use tokio::time::Instant;
use tracing::Instrument;

impl Runner {
    /// Starts a turn and returns as soon as it runs.
    ///
    /// Must be called on a tokio runtime. The turn runs on the host's own thread, whether or not anything waits for it,
    /// and continues after that runtime was dropped. With an executor provided by the caller, it runs on the caller's
    /// runtime, unless the executor has [its own](opencode_run_core::Executor::runtime).
    ///
    /// # Errors
    ///
    /// If the turn could not be started, or another one is running.
    pub async fn start(&self, prompt: impl Into<Prompt>) -> Result<Turn, RunnerError> {
        self.start_prepared(self.prepare(prompt.into(), Instant::now()).await?).await
    }

    /// Starts a turn that was completed by [`prepare`](Self::prepare).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_prepared(&self, prepared: PreparedTurn) -> Result<Turn, RunnerError> {
        let PreparedTurn { prompt, now, since } = prepared;
        let started = Box::pin(self.inner.turns.start_since(prompt, now, since));
        let handle = started.instrument(self.inner.span.clone()).await?;
        Ok(Turn::new(handle, self.clone()))
    }
}
