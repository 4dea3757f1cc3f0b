//! A line of the results file.

use crate::policy::{Class, OutcomeRule};
use crate::shard::Shard;
use crate::task::TaskHash;
use jiff::Timestamp;
use opencode_runner::{FailureKind, Report, RunState};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// The result of one attempt at a task: the result object of a turn, and fields of the batch. Paths of a batch's own
/// files are relative to the results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskResult {
    /// The version of the line, [`TaskResult::VERSION`].
    pub v: u32,
    /// The id of the task.
    pub id: String,
    /// The id in the tasks file, if it differs from `id` because of a repetition or a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_id: Option<String>,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The hash of the task.
    pub task_hash: TaskHash,
    /// The start of the attempt.
    pub started_at: Timestamp,
    /// The process that ran the attempt, as `HOST:PID`.
    pub worker: String,
    /// The shard of the batch, if it was divided.
    #[serde(default)]
    pub shard: Option<Shard>,
    /// The check, if there was one.
    #[serde(default)]
    pub check: Option<CheckResult>,
    /// The changes, if the task has a repository.
    #[serde(default)]
    pub patch: Option<PatchResult>,
    /// The commit that the task began with.
    #[serde(default)]
    pub base_commit: Option<String>,
    /// The files that were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<PathBuf>,
    /// The fields of the task that are not the batch's.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The result of the last turn.
    #[serde(flatten)]
    pub report: Report,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckResult {
    /// Whether it passed.
    pub passed: bool,
    /// The command's exit code; `None` if a signal or the time limit ended the command.
    pub exit_code: Option<i32>,
    /// The file with the output.
    pub log: Option<PathBuf>,
}

/// The changes made by a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PatchResult {
    /// The file with the patch.
    pub path: PathBuf,
    /// The patch's SHA-256 in hexadecimal.
    pub sha256: String,
    /// The patch's size in bytes.
    pub bytes: u64,
    /// The number of changed files.
    pub files: u64,
}

/// The result of an attempt for its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "summaries count each of these")]
pub enum Standing {
    /// The check passed, or the task completed without one.
    Passed,
    /// Completed, and the check failed.
    CheckFailed,
    /// The agent failed within its limits.
    Failed,
    /// The infrastructure failed: the provider, opencode, git, the disk or `setup`.
    Infrastructure,
    /// The configuration of the task is invalid.
    Configuration,
    /// The user ended it.
    Interrupted,
}

impl Standing {
    /// Judges an attempt by how its last turn ended and whether its check passed.
    #[must_use]
    pub fn of(state: RunState, failure: Option<FailureKind>, passed: Option<bool>) -> Self {
        let rule = match (state, failure) {
            (RunState::Completed, None) => OutcomeRule::of_completed(),
            (RunState::Interrupted, None) => OutcomeRule::of_interrupted(),
            (_, kind) => OutcomeRule::of_failure(kind.unwrap_or(FailureKind::Protocol)),
        };
        match rule.class {
            Class::Completed if passed == Some(false) => Self::CheckFailed,
            Class::Completed => Self::Passed,
            // The check decides: the agent may have solved the task before a limit ended it.
            Class::Agent if passed == Some(true) => Self::Passed,
            Class::Agent => Self::Failed,
            Class::Infrastructure => Self::Infrastructure,
            Class::Configuration => Self::Configuration,
            Class::Interrupted => Self::Interrupted,
        }
    }

    /// Returns whether the task is done: a resumed batch does not run it again.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Passed | Self::CheckFailed | Self::Failed)
    }

    /// Returns the name that summaries use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::CheckFailed => "check failed",
            Self::Failed => "failed",
            Self::Infrastructure => "infrastructure",
            Self::Configuration => "configuration",
            Self::Interrupted => "interrupted",
        }
    }
}

impl CheckResult {
    /// Creates the result of a check.
    #[must_use]
    pub fn new(passed: bool, exit_code: Option<i32>, log: Option<PathBuf>) -> Self {
        Self { passed, exit_code, log }
    }
}

impl PatchResult {
    /// Describes a patch file.
    #[must_use]
    pub fn new(path: PathBuf, sha256: String, bytes: u64, files: u64) -> Self {
        Self { path, sha256, bytes, files }
    }
}

impl TaskResult {
    /// The version of the lines that this version writes.
    pub const VERSION: u32 = 1;

    /// Creates the result of an attempt from the report of its last turn.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        attempt: u32,
        task_hash: TaskHash,
        started_at: Timestamp,
        report: Report,
    ) -> Self {
        Self {
            v: Self::VERSION,
            id: id.into(),
            base_id: None,
            attempt,
            task_hash,
            started_at,
            worker: String::new(),
            shard: None,
            check: None,
            patch: None,
            base_commit: None,
            artifacts: Vec::new(),
            metadata: Map::new(),
            report,
        }
    }

    /// Returns the result of the attempt for its task.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let failure = self.report.error.as_ref().map(|error| error.kind);
        Standing::of(self.report.state, failure, self.check.as_ref().map(|check| check.passed))
    }
}
