//! Figures of a batch.

use super::step::{Hold, StopReason};
use crate::ledger::Standing;
use serde::Serialize;
use serde_json::{Value, json};

/// Counters of the tasks by their state. Its fields are those of `batch ctl status` and of the final figures as JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Tasks that completed and passed their check, if there was one.
    pub passed: u64,
    /// Completed, and the check failed.
    pub check_failed: u64,
    /// Tasks in which the agent failed within its limits.
    pub failed: u64,
    /// The infrastructure failed: the provider, opencode, git, the disk or `setup`.
    pub infrastructure: u64,
    /// Tasks with an invalid configuration.
    pub configuration: u64,
    /// Tasks that the user interrupted.
    pub interrupted: u64,
    /// Tasks that were cancelled before or during a run.
    pub cancelled: u64,
    /// Tasks that were done in an earlier run; they are counted above as well.
    pub earlier: u64,
    /// Attempts of this run that ended.
    pub attempts: u64,
    /// Attempts that were followed by a retry.
    pub retries: u64,
    /// Attempts and requests that met a rate limit.
    pub rate_limits: u64,
    /// The cost in USD, that of earlier runs included.
    pub cost: f64,
    /// The tokens, including those of earlier runs.
    pub tokens: u64,
    #[serde(skip)]
    pub(super) ended_cost: f64,
    #[serde(skip)]
    pub(super) ended_tokens: u64,
}

impl Totals {
    pub(super) fn count(&mut self, standing: Standing, change: i64) {
        let counter = match standing {
            Standing::Passed => &mut self.passed,
            Standing::CheckFailed => &mut self.check_failed,
            Standing::Failed => &mut self.failed,
            Standing::Infrastructure => &mut self.infrastructure,
            Standing::Configuration => &mut self.configuration,
            Standing::Interrupted => &mut self.interrupted,
        };
        *counter = counter.saturating_add_signed(change);
    }

    /// Returns a JSON object with these counters added.
    #[must_use]
    pub fn merged_into(&self, mut figures: Value) -> Value {
        if let (Value::Object(figures), Value::Object(counters)) = (&mut figures, json!(self)) {
            figures.extend(counters);
        }
        figures
    }

    /// Returns the number of tasks that did not pass.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.check_failed + self.failed + self.infrastructure + self.configuration
    }

    /// Returns the number of tasks that count in rates.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.passed + self.check_failed + self.failed
    }
}

/// The progress of a batch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The number of all tasks.
    pub tasks: u64,
    /// Tasks whose attempt is running.
    pub running: u64,
    /// Tasks that wait for their retry.
    pub delayed: u64,
    /// Tasks that were not run yet.
    pub not_run: u64,
    /// The number of tasks that may run in parallel.
    pub jobs: usize,
    /// Whether the user paused the batch.
    pub is_paused: bool,
    /// The reasons that no task is started for a while.
    pub holds: Vec<Hold>,
    /// The reason why no more tasks are started.
    pub stopped: Option<StopReason>,
    /// Model sources that were stopped after configuration failures of their tasks.
    pub stopped_sources: Vec<String>,
    /// The counters of the tasks.
    pub totals: Totals,
}
