//! The beginning of a runner's conversation: a new one, or the continuation of its journal.

use crate::BuildError;
use opencode_run_core::{Conversation, ErrorChain, SessionId, Task};
pub(crate) use opencode_run_journal::Journal;
use opencode_run_journal::{JournalError, Recovered, folder_of, latest, prune};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A conversation and its journal.
pub(crate) struct Beginning {
    pub(crate) conversation: Conversation,
    pub(crate) journal: Option<Arc<Journal>>,
}

impl Beginning {
    /// Begins a conversation; `session` is the session that is continued, if any.
    ///
    /// A session with a journal continues it, including its turns. If that journal cannot be used, a new one is
    /// started, because that must not prevent a turn. Starting a journal deletes old ones.
    ///
    /// # Errors
    ///
    /// If the session is in use elsewhere: opencode would merge the messages of two commands into one turn.
    pub(crate) fn new(journals: Option<&Path>, task: Task, session: Option<SessionId>) -> Result<Self, BuildError> {
        let Some(journals) = journals else {
            return Ok(Self { conversation: conversation(task, session), journal: None });
        };
        let folder = folder_of(journals, &task.directory);
        if let Some(session) = &session {
            match latest(&folder, Some(session)).and_then(|found| found.map(|path| Journal::open(&path)).transpose()) {
                Ok(Some((journal, recovered))) => return Ok(Self::of(journal, recovered)),
                Ok(None) => {}
                Err(error @ JournalError::Busy { .. }) => return Err(error.into()),
                Err(error) => tracing::warn!("the session's earlier turns are skipped: {}", ErrorChain::new(&error)),
            }
        }
        prune(journals, SystemTime::now());
        let journal = Journal::new(folder, task.clone(), session.clone());
        Ok(Self { conversation: conversation(task, session), journal: Some(Arc::new(journal)) })
    }

    /// Resumes the most recent conversation in a directory, or the one of this session.
    ///
    /// # Errors
    ///
    /// If no conversation is found, it is in use elsewhere, its session was deleted, or its journal cannot be used.
    pub(crate) fn resume(
        journals: Option<&Path>,
        directory: &Path,
        session: Option<&SessionId>,
    ) -> Result<Self, BuildError> {
        let path = find_journal(journals, directory, session)?;
        let (journal, recovered) = Journal::open(&path)?;
        if recovered.conversation.task.isolated {
            return Err(BuildError::SessionGone { directory: directory.to_owned() });
        }
        Ok(Self::of(journal, recovered))
    }

    fn of(journal: Journal, recovered: Recovered) -> Self {
        let Recovered { conversation, truncated_bytes, skipped_lines, .. } = recovered;
        if truncated_bytes > 0 {
            tracing::warn!("the journal ended in the middle of a line: {truncated_bytes} bytes were dropped");
        }
        if skipped_lines > 0 {
            tracing::warn!("{skipped_lines} lines of the journal cannot be read and were skipped");
        }
        Self { conversation, journal: Some(Arc::new(journal)) }
    }
}

fn conversation(task: Task, session: Option<SessionId>) -> Conversation {
    let mut conversation = Conversation::new(task);
    conversation.session = session;
    conversation
}

/// Finds the journal of the most recent conversation in a directory, or of this session.
///
/// # Errors
///
/// If there is no such journal, or the directory of journals cannot be read.
pub fn find_journal(
    journals: Option<&Path>,
    directory: &Path,
    session: Option<&SessionId>,
) -> Result<PathBuf, BuildError> {
    let found = journals.map(|journals| latest(&folder_of(journals, directory), session)).transpose()?.flatten();
    found.ok_or_else(|| BuildError::NothingToResume { directory: directory.to_owned(), session: session.cloned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{FailureKind, Prompt, Recorder, TurnStart};

    #[test]
    fn deleted_session_cannot_be_resumed() {
        let journals = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        for isolated in [false, true] {
            let task = Task::new("t", directory.path()).isolated(isolated);
            let journal = Journal::new(folder_of(journals.path(), directory.path()), task, None);
            journal.turn_started(&TurnStart::new(&Prompt::new("hello"), SystemTime::now()));
            let path = journal.path().unwrap();
            drop(journal);
            match Beginning::resume(Some(journals.path()), directory.path(), None) {
                Ok(beginning) => assert!(!isolated && beginning.conversation.turns.len() == 1),
                Err(error) => assert!(isolated && error.kind() == FailureKind::SessionNotFound, "{error}"),
            }
            std::fs::remove_file(path).unwrap();
        }
    }
}
