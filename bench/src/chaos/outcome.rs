//! The message of a case, and its result.

use crate::plan::Plan;
use std::process::ExitStatus;
use std::time::Duration;

/// The guaranteed time within which no process is alive.
pub(crate) const GUARANTEED: Duration = Duration::from_secs(3);

/// A case without violations.
#[derive(Debug)]
pub(crate) struct Played {
    /// A description of the command's end.
    pub(crate) ended: String,
    /// The time from the fault to the end of the command, if there was a fault while it ran.
    pub(crate) took: Option<Duration>,
    /// The time from the command's end until no process was alive.
    pub(crate) all_exited: Duration,
}

impl Played {
    /// Returns whether the end took longer than guaranteed, which is allowed within the slack.
    pub(crate) fn is_late(&self) -> bool {
        self.took.unwrap_or_default() + self.all_exited > GUARANTEED
    }
}

/// The result of the command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    /// `None` if stdout was not read to its end.
    pub(crate) stdout: Option<String>,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Returns the message of a case, which identifies it.
pub(crate) fn message(plan: &Plan) -> String {
    format!("hello from case {}", plan.case)
}
