//! The inputs of the scheduler and its decisions.

use crate::ledger::Standing;
use serde::Serialize;
use std::time::Duration;

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the states of a task are these")]
pub enum State {
    /// The task waits for a slot.
    Ready,
    /// The task waits for its retry.
    Delayed,
    /// An attempt is running.
    Running,
    /// The task has finished.
    Done(Standing),
    /// The task was cancelled.
    Cancelled,
}

/// The reason why a batch starts no more tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// The user asked for it.
    Interrupted,
    /// Too many tasks failed.
    FailFast,
    /// The budget is used up.
    Budget,
    /// The time limit of the batch was reached.
    Deadline,
    /// The batch cannot continue, because the results or the tasks file cannot be used.
    Failed,
}

/// A reason to start no tasks for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hold {
    /// The results cannot be written: the disk is full.
    ResultsFull,
    /// The disk has too little room.
    Disk,
    /// The processes use too much memory.
    Memory,
}

/// The next step of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a shell has to handle each")]
pub enum Next {
    /// Start an attempt at a task.
    Start {
        /// The number of the task.
        task: usize,
        /// The number of the attempt, from 1.
        attempt: u32,
    },
    /// Wait until an attempt ends, something changes, or this time has come.
    Wait {
        /// The time; `None` if the passing of time changes nothing.
        until: Option<Duration>,
    },
    /// Nothing is running, and nothing will be.
    Finished,
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the shell reports these")]
pub struct Ended {
    /// The outcome, which decides about a retry.
    pub outcome: Outcome,
    /// The cost in USD.
    pub cost: f64,
    /// The tokens that were used.
    pub tokens: u64,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the scheduler has a rule for each")]
pub enum Outcome {
    /// The attempt ended, with this result for its task.
    Ended(Standing),
    /// The attempt ended with this result, and not because of its task: its model source or opencode cannot be used.
    Unusable(Standing),
    /// The provider failed with a status of 500 or more: the source's limit does not grow.
    Overloaded,
    /// The provider returned a rate limit, perhaps with a time.
    RateLimited {
        /// The time from now on.
        retry_after: Option<Duration>,
    },
}

/// The next step for a task whose attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a shell has to handle each")]
pub enum After {
    /// The task is done.
    Done(Standing),
    /// The task is retried, not before this time.
    Retry {
        /// The earliest time of the retry.
        at: Duration,
    },
}

/// The response to a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a shell has to handle each")]
pub enum Escalation {
    /// Start nothing new, and let the running tasks finish.
    Drain,
    /// Interrupt the running tasks.
    Interrupt,
    /// Kill them.
    Kill,
}

/// The response to a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a shell has to handle each")]
pub enum Cancelled {
    /// The task will not start.
    Removed,
    /// The task is running: interrupt it.
    Interrupt,
    /// The task had already finished.
    Over,
}
