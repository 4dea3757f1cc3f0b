//! A process that a server has started for one of its clients.

use crate::start_time::StartTime;
use std::path::PathBuf;

/// A process of a server's run that is not one of the server's own.
#[derive(Debug)]
#[non_exhaustive]
pub struct ToolProcess {
    /// The start time of the process.
    pub started_at: StartTime,
    /// The working directory of the process, if it can be read.
    pub directory: Option<PathBuf>,
}

impl ToolProcess {
    /// Returns a process with this start time and working directory.
    #[must_use]
    pub fn new(started_at: StartTime, directory: Option<PathBuf>) -> Self {
        Self { started_at, directory }
    }
}
