//! Removing a task's directory.

use opencode_run_core::{FailureKind, RunState, StartError, TurnHandle};
use opencode_run_process::TaskDir;
use std::io;

/// Whether the directory that was created for a task is removed when its runner is closed or dropped.
///
/// Journals are stored elsewhere and stay; transcripts are in the directory unless they were saved to another path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DirectoryCleanup {
    /// The directory stays.
    #[default]
    Keep,
    /// The directory is removed with its content.
    Remove,
    /// The directory is removed if the last turn completed, and stays for inspection if it failed, was interrupted,
    /// or never ran.
    RemoveIfSuccessful,
}

impl DirectoryCleanup {
    /// Returns whether the directory is removed after a conversation in this state.
    fn removes(self, state: RunState) -> bool {
        match self {
            Self::Keep => false,
            Self::Remove => true,
            Self::RemoveIfSuccessful => state == RunState::Completed,
        }
    }

    /// Removes the directory if this state requires it. Returns whether it was removed.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub(crate) async fn apply(self, directory: &TaskDir, state: RunState) -> Result<bool, StartError> {
        if !self.removes(state) {
            return Ok(false);
        }
        let directory = directory.clone();
        let path = directory.path().to_owned();
        let removed = tokio::task::spawn_blocking(move || directory.remove()).await;
        removed.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| {
            let message = format!("the task's directory {} cannot be removed", path.display());
            StartError::new(FailureKind::Io, message).caused_by(error)
        })
    }

    /// Removes the directory in the background if required, after the turn that still runs there has ended. The
    /// conversation is in this state now. Works without a runtime.
    pub(crate) fn apply_in_background(self, directory: TaskDir, state: RunState, running: Option<TurnHandle>) {
        if self == Self::Keep {
            return;
        }
        let remove = move || {
            // The turn itself runs elsewhere.
            let waiting = || tokio::runtime::Builder::new_current_thread().build();
            let last = running.and_then(|turn| Some(waiting().ok()?.block_on(turn.wait()).state));
            if self.removes(last.unwrap_or(state))
                && let Err(error) = directory.remove()
            {
                tracing::warn!(path = %directory.path().display(), %error, "the task's directory cannot be removed");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("task-cleanup".to_owned()).spawn(remove) {
            tracing::warn!(%error, "the task's directory is not removed");
        }
    }
}
