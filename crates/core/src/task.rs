//! A task: a name and a directory.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A task: a name and the directory it works in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Task {
    /// The task's name.
    pub name: String,
    /// The directory that the agent works in.
    pub directory: PathBuf,
    /// Whether the task has an isolated opencode, so that its session is deleted with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
}

impl Task {
    /// Names a task and its directory. Creates and checks nothing.
    pub fn new(name: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), directory: directory.into(), isolated: false }
    }

    /// Sets whether the task has an isolated opencode, so that its session is deleted with it.
    #[must_use]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated;
        self
    }
}
