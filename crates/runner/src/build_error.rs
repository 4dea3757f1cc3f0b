//! The error of building a [`Runner`](crate::Runner).

use opencode_run_core::{FailureKind, ModelNameError, Remedy, SessionId, StartError};
#[cfg(feature = "journal")]
use opencode_run_journal::JournalError;
use opencode_run_process::{LocateError, SessionLookupError, TaskDirError};
use std::io::ErrorKind;
use std::path::PathBuf;

/// The reason why a runner could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No usable opencode was found.
    #[error(transparent)]
    Opencode(#[from] LocateError),
    /// The task's directory cannot be created or used.
    #[error(transparent)]
    TaskDir(#[from] TaskDirError),
    /// The name of the model is invalid.
    #[error(transparent)]
    Model(#[from] ModelNameError),
    /// opencode cannot be driven in the requested way.
    #[error(transparent)]
    Executor(#[from] StartError),
    /// The session to continue cannot be found.
    #[error(transparent)]
    Session(#[from] SessionLookupError),
    /// The journal of the conversation to resume cannot be used.
    #[cfg(feature = "journal")]
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no conversation to resume.
    #[error("there is no conversation{} to resume in {}", session.as_ref().map(|session| format!(" in session {session}")).unwrap_or_default(), directory.display())]
    NothingToResume {
        /// The directory in which the conversation was expected.
        directory: PathBuf,
        /// The session that was requested, if any.
        session: Option<SessionId>,
    },
    /// The session of the conversation was deleted.
    #[error("cannot resume the conversation in {}: it was isolated, and its session has been deleted", directory.display())]
    SessionGone {
        /// The directory of the conversation.
        directory: PathBuf,
    },
    /// The directory of the session to continue does not exist.
    #[error("session {session} belongs to {}, which no longer exists", directory.display())]
    SessionDirectoryGone {
        /// The session to continue.
        session: SessionId,
        /// The directory of the session.
        directory: PathBuf,
    },
    /// A setting would have no effect.
    #[error("`{setting}` has no effect with {with}")]
    Conflict {
        /// The name of the setting's method.
        setting: &'static str,
        /// The setting or executor with which the setting has no effect.
        with: &'static str,
    },
    /// The library was built without a feature that a setting needs.
    #[error("`{setting}` requires the feature `{feature}` of the library")]
    MissingFeature {
        /// The name of the setting's method.
        setting: &'static str,
        /// The name of the feature.
        feature: &'static str,
    },
    /// There is no directory of journals to resume from.
    #[error("`resume` requires `journal`, the directory of the journals")]
    ResumeWithoutJournal,
    /// The session to continue belongs to another directory than the given one.
    #[error("session {session} belongs to {}, not to {}", directory.display(), asked.display())]
    SessionElsewhere {
        /// The session to continue.
        session: SessionId,
        /// The directory of the session.
        directory: PathBuf,
        /// The directory that was given.
        asked: PathBuf,
    },
}

impl BuildError {
    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Executor(error) | Self::Session(SessionLookupError::Server(error)) => error.kind,
            Self::Session(SessionLookupError::NotFound(_)) | Self::SessionGone { .. } => FailureKind::SessionNotFound,
            Self::Opencode(_) | Self::Session(_) => FailureKind::Opencode,
            #[cfg(feature = "journal")]
            Self::Journal(JournalError::Busy { .. }) => FailureKind::Busy,
            #[cfg(feature = "journal")]
            Self::Journal(_) => FailureKind::Io,
            Self::TaskDir(TaskDirError::Existing { .. })
            | Self::Model(_)
            | Self::NothingToResume { .. }
            | Self::Conflict { .. }
            | Self::MissingFeature { .. }
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
            Self::Session(SessionLookupError::NotFound(_)) => Remedy::advice(
                "`opencode session list` shows the sessions of a project; opencode 1 and 2 list different ones",
            ),
            #[cfg(feature = "journal")]
            Self::Journal(JournalError::Busy { .. }) => Remedy::advice("wait until it is done, or interrupt it"),
            Self::NothingToResume { .. } => Remedy::NameJournalledTask,
            Self::SessionGone { .. } => Remedy::BeginNewSession,
            Self::SessionDirectoryGone { .. } => Remedy::advice(
                "a session belongs to the directory in which it began: restore that directory, or begin a new session",
            ),
            Self::SessionElsewhere { .. } => Remedy::OmitDirectory,
            Self::ResumeWithoutJournal => Remedy::advice("set the directory of the journals"),
            Self::Conflict { .. } => Remedy::advice("remove one of the two settings"),
            Self::MissingFeature { .. } => Remedy::advice("enable the feature in Cargo.toml"),
            #[cfg(feature = "journal")]
            Self::Journal(_) => return None,
            Self::TaskDir(_) | Self::Model(_) | Self::Session(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_directory_has_own_remedy() {
        let remedy = |kind: ErrorKind| {
            BuildError::from(TaskDirError::Existing { path: "/root".into(), source: kind.into() }).remedy()
        };
        assert!(
            matches!(remedy(ErrorKind::PermissionDenied), Some(Remedy::Advice(text)) if text.contains("permissions"))
        );
        assert!(matches!(remedy(ErrorKind::NotFound), Some(Remedy::Advice(text)) if text.contains("exists")));
    }
}
