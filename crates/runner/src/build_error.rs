//! Why a [`Runner`](crate::Runner) could not be put together.

use opencode_run_core::{FailureKind, ModelNameError, Remedy, SessionId, StartError};
use opencode_run_journal::JournalError;
use opencode_run_process::{LocateError, SessionLookupError, TaskDirError};
use std::io::ErrorKind;
use std::path::PathBuf;

/// Why a runner could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no opencode to drive.
    #[error(transparent)]
    Opencode(#[from] LocateError),
    /// There is no directory for the task.
    #[error(transparent)]
    TaskDir(#[from] TaskDirError),
    /// The model's name is none.
    #[error(transparent)]
    Model(#[from] ModelNameError),
    /// opencode cannot be driven in the way that was asked for.
    #[error(transparent)]
    Executor(#[from] StartError),
    /// The session to continue cannot be found.
    #[error(transparent)]
    Session(#[from] SessionLookupError),
    /// The journal of the conversation to go on with cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no conversation to go on with.
    #[error("there is no conversation{} to go on with in {}", session.as_ref().map(|session| format!(" in session {session}")).unwrap_or_default(), directory.display())]
    NothingToResume {
        /// Where it should have been at work.
        directory: PathBuf,
        /// The session that it should have been in, where one was named.
        session: Option<SessionId>,
    },
    /// The conversation was in a session that is there no more.
    #[error("the conversation in {} cannot be gone on with: opencode was isolated, and its home was deleted with the session", directory.display())]
    SessionGone {
        /// Where it was at work.
        directory: PathBuf,
    },
    /// The directory of the session to continue is not there.
    #[error("session {session} belongs to {}, which does not exist any more", directory.display())]
    SessionDirectoryGone {
        /// The session.
        session: SessionId,
        /// Where it belongs.
        directory: PathBuf,
    },
    /// A setting would have no effect.
    #[error("`{setting}` has no effect with {with}")]
    Conflict {
        /// The setting, by the name of its method.
        setting: &'static str,
        /// The setting or executor that makes it meaningless.
        with: &'static str,
    },
    /// There is no place to look for the conversation.
    #[error("`resume` has no `journal` to look for a conversation in")]
    ResumeWithoutJournal,
    /// The session to continue belongs to another directory than the one that was named.
    #[error("session {session} belongs to {}, not to {}", directory.display(), asked.display())]
    SessionElsewhere {
        /// The session.
        session: SessionId,
        /// Where it belongs.
        directory: PathBuf,
        /// Where it was to be continued.
        asked: PathBuf,
    },
}

impl BuildError {
    /// Returns what kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Executor(error) | Self::Session(SessionLookupError::Server(error)) => error.kind,
            Self::Session(SessionLookupError::NotFound(_)) | Self::SessionGone { .. } => FailureKind::SessionNotFound,
            Self::Opencode(_) | Self::Session(_) => FailureKind::Opencode,
            Self::Journal(JournalError::Busy { .. }) => FailureKind::Busy,
            Self::Journal(_) => FailureKind::Io,
            Self::TaskDir(TaskDirError::Existing { .. })
            | Self::Model(_)
            | Self::NothingToResume { .. }
            | Self::Conflict { .. }
            | Self::ResumeWithoutJournal
            | Self::SessionDirectoryGone { .. }
            | Self::SessionElsewhere { .. } => FailureKind::Usage,
            Self::TaskDir(_) => FailureKind::Config,
        }
    }

    /// Returns the remedy, unless the message contains it already.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            Self::Opencode(error) => error.remedy(),
            Self::Executor(error) | Self::Session(SessionLookupError::Server(error)) => error.remedy.clone()?,
            Self::TaskDir(TaskDirError::Create { .. }) => Remedy::ChooseWorkspace,
            Self::TaskDir(TaskDirError::Existing { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                Remedy::advice(
                    "this user must be able to enter and read the directory: change its permissions, or name another one",
                )
            }
            Self::TaskDir(TaskDirError::NotADirectory { .. } | TaskDirError::Existing { .. }) => {
                Remedy::advice("name a directory that exists")
            }
            Self::Session(SessionLookupError::NotFound(_)) => {
                Remedy::advice("`opencode session list` shows the sessions of a project")
            }
            Self::Journal(JournalError::Busy { .. }) => Remedy::advice("wait until it is done, or interrupt it"),
            Self::NothingToResume { .. } => Remedy::NameJournalledTask,
            Self::SessionGone { .. } => Remedy::BeginNewSession,
            Self::SessionDirectoryGone { .. } => Remedy::advice(
                "opencode keeps a session in the directory where it began: move that back, or begin a new session",
            ),
            Self::SessionElsewhere { .. } => Remedy::OmitDirectory,
            Self::ResumeWithoutJournal => Remedy::advice("set the folder of the journals"),
            Self::Conflict { .. } => Remedy::advice("leave one of the two out"),
            Self::TaskDir(_) | Self::Model(_) | Self::Session(_) | Self::Journal(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_directory_has_its_own_remedy() {
        let remedy = |kind: ErrorKind| {
            BuildError::from(TaskDirError::Existing { path: "/root".into(), source: kind.into() }).remedy()
        };
        assert!(
            matches!(remedy(ErrorKind::PermissionDenied), Some(Remedy::Advice(text)) if text.contains("permissions"))
        );
        assert!(matches!(remedy(ErrorKind::NotFound), Some(Remedy::Advice(text)) if text.contains("exists")));
    }
}
