//! Events of a batch, for a progress display.

use crate::ledger::{LedgerError, Standing, TaskResult};
use crate::run::Activity;
use crate::scheduler::{Hold, Status};
use std::time::Duration;

/// An event of a running batch.
#[derive(Debug)]
#[non_exhaustive]
pub enum BatchEvent<'a> {
    /// An attempt started.
    Started {
        /// The id of the task.
        id: &'a str,
        /// The number of the attempt.
        attempt: u32,
    },
    /// An attempt ended, and its line is synced to disk.
    Ended {
        /// The line in the results file.
        result: &'a TaskResult,
        /// The result of the attempt for the task.
        standing: Standing,
        /// The task is retried after this time.
        retry_in: Option<Duration>,
    },
    /// A reason to start no tasks was set or cleared.
    Hold {
        /// The reason to start no tasks.
        hold: Hold,
        /// Whether the reason was set; otherwise it was cleared.
        is_set: bool,
    },
    /// A task from stdin or from an added file was rejected.
    BadTask {
        /// The problem of the task, in words.
        problem: String,
    },
    /// About a second went by.
    Tick,
}

/// A running attempt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Running {
    /// The id of the task.
    pub id: String,
    /// The number of the attempt.
    pub attempt: u32,
    /// The time since the attempt's start.
    pub elapsed: Duration,
    /// The activity of the attempt, if known.
    pub activity: Option<Activity>,
}

/// The end of a batch.
#[derive(Debug)]
#[non_exhaustive]
pub struct Summary {
    /// The final counters.
    pub status: Status,
    /// The duration of the batch.
    pub elapsed: Duration,
    /// The number of streamed lines that were rejected: invalid tasks and duplicate ids.
    pub rejected: u64,
    /// The reason why the batch could not continue.
    pub error: Option<BatchFailure>,
}

/// The reason why a batch could not continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchFailure {
    /// The results cannot be written.
    #[error("the results cannot be written: {0}; a task without a line runs again when the batch is resumed")]
    Results(std::io::Error),
    /// The tasks file can no longer be read.
    #[error(transparent)]
    Tasks(#[from] crate::tasks_file::Problem),
    /// The results file cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
