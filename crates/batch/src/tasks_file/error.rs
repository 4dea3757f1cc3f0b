//! Problems of a tasks file, with their lines.

use crate::task::TaskError;
use std::fmt;
use std::path::{Path, PathBuf};

/// The maximum number of reported problems: a longer list is not read.
pub(super) const MAX_PROBLEMS: usize = 10;

/// A tasks file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TasksFileError {
    /// The tasks file.
    pub path: PathBuf,
    /// The first problems, at least one.
    pub problems: Vec<Problem>,
}

/// A problem in a tasks file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The line, from 1, if the problem is in one.
    pub line: Option<u64>,
    /// The problem, in words.
    pub message: String,
    /// A way to solve it, if one is known.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(line: Option<u64>, message: impl Into<String>) -> Self {
        Self { line, message: message.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn at(self, line: u64) -> Self {
        Self { line: Some(line), ..self }
    }
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Self {
        Self { line: None, message: error.message, hint: error.hint }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl TasksFileError {
    pub(crate) fn of(path: &Path, problems: Vec<Problem>) -> Self {
        Self { path: path.to_owned(), problems }
    }

    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::of(path, vec![Problem::new(None, format!("the file cannot be read: {error}"))])
    }

    /// Returns what to do about the first problem that has a remedy.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.problems.iter().find_map(|problem| problem.hint.as_deref())
    }
}

impl fmt::Display for TasksFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{}{line}: {}", self.path.display(), problem.message)?;
        }
        if self.problems.len() >= MAX_PROBLEMS {
            write!(f, "\n(there may be more)")?;
        }
        Ok(())
    }
}

impl std::error::Error for TasksFileError {}
