//! Events of a batch, for a display of its progress.

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
        /// The task.
        id: &'a str,
        /// The number of the attempt.
        attempt: u32,
    },
    /// An attempt ended, and its line is on the disk.
    Ended {
        /// The line.
        result: &'a TaskResult,
        /// Its meaning for the task.
        standing: Standing,
        /// The task is tried again after this time.
        retry_in: Option<Duration>,
    },
    /// No task is started for this reason, or it is gone.
    Hold {
        /// The reason.
        hold: Hold,
        /// Whether it is there.
        is_set: bool,
    },
    /// A task could not be taken from the stream or a file that was added.
    BadTask {
        /// The problem.
        problem: String,
    },
    /// About a second went by.
    Tick,
}

/// A running attempt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Running {
    /// The task.
    pub id: String,
    /// The number of the attempt.
    pub attempt: u32,
    /// The time since its start.
    pub elapsed: Duration,
    /// Its activity, if that is known.
    pub activity: Option<Activity>,
}

/// How a batch ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Summary {
    /// The figures.
    pub status: Status,
    /// The time that it took.
    pub elapsed: Duration,
    /// Why it could not go on.
    pub error: Option<BatchFailure>,
}

/// Why a batch could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchFailure {
    /// The results cannot be written.
    #[error("the results cannot be written: {0}; a task without a line runs again when the batch is resumed")]
    Results(std::io::Error),
    /// The tasks file cannot be read any more.
    #[error(transparent)]
    Tasks(#[from] crate::tasks_file::Problem),
    /// The results file cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
