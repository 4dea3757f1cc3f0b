//! A process that a server has started for one of its clients.

use crate::start_time::StartTime;
use std::path::PathBuf;

/// A process of a server's run that is not one of the server's own.
#[derive(Debug)]
#[non_exhaustive]
pub struct ToolProcess {
    /// The time at which it was started.
    pub started_at: StartTime,
    /// Its working directory, if that can be read.
    pub directory: Option<PathBuf>,
}

impl ToolProcess {
    /// Returns a process that was started then, and works in this directory.
    #[must_use]
    pub fn new(started_at: StartTime, directory: Option<PathBuf>) -> Self {
        Self { started_at, directory }
    }
}
