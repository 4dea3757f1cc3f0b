//! Errors of workspaces.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The reason why a workspace cannot be created or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// git is not installed.
    #[error("git is not on PATH; tasks with a repository need version 2.32 or later")]
    NoGit,
    /// The installed git is too old.
    #[error("git {found} is too old; tasks with a repository need version 2.32 or later")]
    OldGit {
        /// The installed version.
        found: String,
    },
    /// git failed.
    #[error("git {operation} failed: {message}")]
    Git {
        /// The subcommand of git.
        operation: &'static str,
        /// The end of git's error output.
        message: String,
    },
    /// A command did not end in time.
    #[error("git {operation} did not end within {}s", limit.as_secs())]
    GitTimeout {
        /// The subcommand of git.
        operation: &'static str,
        /// The time limit of the command.
        limit: Duration,
    },
    /// The name of a repository cannot be used.
    #[error("cannot use the repository `{name}`: {problem}")]
    InvalidRepository {
        /// The name as given in the task, without a password.
        name: String,
        /// The problem, in words.
        problem: &'static str,
    },
    /// The repository has no such commit, branch or tag.
    #[error("{repository} has no commit, branch or tag `{reference}`")]
    UnknownReference {
        /// The address of the repository, without a password.
        repository: String,
        /// The missing reference.
        reference: String,
    },
    /// Another batch uses the directory of the clones.
    #[error("another batch is using {}", directory.display())]
    Busy {
        /// The directory of the clones.
        directory: PathBuf,
    },
    /// A path leaves the directory that it must stay in.
    #[error("the path `{path}` leaves the task's directory")]
    PathEscapes {
        /// The path as the task gives it.
        path: String,
    },
    /// The directory of a task was replaced by the agent.
    #[error("the directory {} is not the one that was created for the task", directory.display())]
    DirectoryReplaced {
        /// The directory of the task.
        directory: PathBuf,
    },
    /// A glob pattern is invalid.
    #[error("invalid pattern in `artifacts`")]
    Pattern(#[source] globset::Error),
    /// A file of `check_files` does not exist.
    #[error("the file {} of `check_files` does not exist", path.display())]
    MissingCheckFile {
        /// The missing file or directory.
        path: PathBuf,
    },
    /// A patch is larger than allowed. No part of it is kept.
    #[error("the patch is larger than {limit} bytes")]
    PatchTooLarge {
        /// The maximum size of a patch in bytes.
        limit: u64,
    },
    /// The file system failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The attempted operation.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl WorkspaceError {
    /// Returns a function that converts an I/O error.
    pub(crate) fn io<'p>(operation: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Self + use<'p> {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }
}
