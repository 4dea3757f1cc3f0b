//! The interface between the scheduler and the executor of attempts.

use super::throttles::RateLimit;
use crate::ledger::TaskResult;
use crate::scheduler::Outcome;
use crate::shard::Shard;
use crate::task::{BatchTask, TaskHash};
use async_trait::async_trait;
use std::time::Duration;
use tokio::sync::watch;

/// Executes attempts, in this process or elsewhere: the scheduler and the ledger do not depend on the place.
#[async_trait]
pub trait AttemptRunner: Send + Sync + 'static {
    /// Executes an attempt until it ends in any way, and leaves no process running.
    async fn run(&self, attempt: Attempt, stop: watch::Receiver<Stop>) -> AttemptEnd;

    /// Returns what the attempt at a task is doing.
    fn activity(&self, id: &str) -> Option<Activity> {
        let _ = id;
        None
    }

    /// Waits for the next rate limit that a request of a running attempt met. Dropping the future loses none.
    async fn rate_limit(&self) -> RateLimit {
        std::future::pending().await
    }

    /// Holds all requests of a model source for this time, those of running attempts included.
    fn pause(&self, source: &str, time: Duration) {
        let _ = (source, time);
    }

    /// Ends the servers that are kept for further attempts.
    async fn shut_down(&self) {}
}

/// An attempt that was scheduled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attempt {
    /// The task; its paths are absolute.
    pub task: BatchTask,
    /// The id in the tasks file.
    pub base_id: String,
    /// The hash of the task.
    pub hash: TaskHash,
    /// The number of the attempt, from 1.
    pub number: u32,
    /// The shard of the batch.
    pub shard: Option<Shard>,
}

/// An attempt that ended.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "every executor makes these")]
pub struct AttemptEnd {
    /// The line for the ledger.
    pub result: TaskResult,
    /// The outcome for the scheduler.
    pub outcome: Outcome,
}

/// Whether an attempt has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[expect(clippy::exhaustive_enums, reason = "an attempt goes on, ends gently or immediately")]
pub enum Stop {
    /// The attempt continues.
    #[default]
    No,
    /// The attempt ends gracefully.
    Interrupt,
    /// The attempt ends immediately.
    Kill,
}

/// The activity of a running attempt.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Activity {
    /// The step, such as `clone` or the name of a tool.
    pub step: String,
    /// The cost so far, in USD.
    pub cost: f64,
}

impl Activity {
    /// Creates an activity from its step and the cost so far, in USD.
    pub fn new(step: impl Into<String>, cost: f64) -> Self {
        Self { step: step.into(), cost }
    }
}
